"""Videos of many kinds, made anew for each run by FFmpeg's command."""

import itertools
import subprocess

X264 = "-c:v libx264 -preset veryfast -threads 1"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:pools=1"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 200k"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -row-mt 0"
AV1 = "-c:v libsvtav1 -preset 12 -svtav1-params lp=1"
AOM = "-c:v libaom-av1 -cpu-used 8 -usage realtime -b:v 200k"
MPEG4 = "-c:v mpeg4 -q:v 6"
MJPEG = "-c:v mjpeg -q:v 6"
PRORES = "-c:v prores_ks -profile:v 0"
SOUND = "sine=440:r=48000"
CODINGS = {"h264": X264, "hevc": X265, "vp8": VP8, "vp9": VP9, "av1": AV1, "mpeg4": MPEG4, "mjpeg": MJPEG, "prores": PRORES}
CONTAINERS = {
    "h264": ["mp4", "mov", "mkv"], "hevc": ["mp4", "mov", "mkv"], "vp8": ["webm", "mkv"], "vp9": ["webm", "mp4"],
    "av1": ["mp4", "webm"], "mpeg4": ["mp4", "mov", "mkv"], "mjpeg": ["mov", "mkv"], "prores": ["mov"],
}  # fmt: skip


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)], check=True)


def made():
    """Name, size, rate, seconds, options; with a sound if they name its coding."""
    for coding, options in CODINGS.items():
        for container in CONTAINERS[coding]:
            yield f"plain-{coding}.{container}", "192x108", 25, 3, options
        container = CONTAINERS[coding][0]
        voice = "libopus" if container == "webm" else "aac"
        yield f"sound-{coding}.{container}", "128x96", 15, 4, f"{options} -c:a {voice}"
        yield f"few-{coding}.{container}", "96x64", 10, 0.7, options
        yield f"one-{coding}.{container}", "96x64", 10, 0.1, options
    for size in ("161x121", "162x90", "64x49", "33x65", "130x98", "640x360", "352x288", "1280x720"):
        yield f"size-{size}.mkv", size, 24, 1.8, f"{X264} -pix_fmt yuv444p"
        even = "x".join(str(int(side) // 2 * 2) for side in size.split("x"))
        yield f"size420-{size}.mp4", even, 24, 1.8, X264
        yield f"size-{size}.webm", "320x240", 24, 1.8, f"{VP9} -vf scale={size.replace('x', ':')}"
        yield f"size-{size}.mov", "320x240", 24, 1.8, f"{MJPEG} -vf scale={size.replace('x', ':')}"
    for number, (gop, b_frames) in enumerate(itertools.product((1, 5, 12, 250), (0, 2))):
        yield f"gop-{gop}-b{b_frames}.mp4", "160x120", 30, 6, f"{X264} -g {gop} -bf {b_frames}"
        yield f"gop-{gop}-b{b_frames}.mkv", "160x120", 30, 6, f"{X265} -g {gop} -bf {b_frames}"
    yield "open-gop.mp4", "160x120", 25, 8, f"{X264} -g 30 -bf 3 -x264-params open-gop=1"
    yield "open-gop-hevc.mp4", "160x120", 25, 8, f"{X265}:open-gop=1:keyint=30:bframes=4"
    yield "pyramid.mp4", "160x120", 25, 8, f"{X264} -g 60 -bf 8 -x264-params b-pyramid=normal:ref=6"
    yield "intra-refresh.mp4", "160x120", 25, 6, f"{X264} -bf 0 -g 30 -x264-params intra-refresh=1"
    yield "interlaced.mp4", "160x128", 25, 3, f"{X264} -flags +ilme+ildct"
    for matrix, span in itertools.product(("bt709", "smpte170m", "bt470bg", "bt2020nc", "fcc"), ("tv", "pc")):
        colours = f"-colorspace {matrix} -color_range {span}"
        yield f"colours-{matrix}-{span}.mp4", "192x108", 25, 1.5, f"{X264} {colours}"
        yield f"colours-{matrix}-{span}-odd.webm", "98x54", 25, 1.5, f"{VP9} {colours}"
    for form in ("yuv420p10le", "yuv422p", "yuv444p", "yuv422p10le", "yuv444p10le", "gray", "yuvj420p"):
        yield f"form-{form}.mp4", "160x120", 25, 2, f"{X264} -pix_fmt {form}"
        yield f"form-{form}-odd.mkv", "162x121" if "444" in form else "162x120", 25, 2, f"{X264} -pix_fmt {form}"
    yield "form-hevc10.mp4", "160x120", 25, 2, f"{X265} -pix_fmt yuv420p10le"
    yield "form-hevc12.mp4", "160x120", 25, 2, f"{X265} -pix_fmt yuv420p12le"
    yield "form-hdr.mov", "192x108", 25, 2, f"{X265} -pix_fmt yuv420p10le -colorspace bt2020nc -color_trc arib-std-b67 -color_primaries bt2020"
    yield "form-vp9-10.webm", "160x120", 25, 2, f"{VP9} -pix_fmt yuv420p10le -profile:v 2"
    yield "form-vp9-rgb.webm", "160x120", 25, 2, f"{VP9} -pix_fmt gbrp"
    yield "form-av1-10.mp4", "160x120", 25, 2, f"{AV1} -pix_fmt yuv420p10le"
    yield "form-aom.mp4", "160x120", 25, 2, AOM
    yield "form-rgb.mkv", "160x120", 25, 1, "-c:v libx264rgb -preset veryfast"
    yield "alpha.webm", "160x120", 25, 2, f"{VP8} -auto-alt-ref 0 -pix_fmt yuva420p"
    yield "ratio.mp4", "160x120", 25, 2, f"{X264} -aspect 16:9"
    yield "cropped.mp4", "150x110", 25, 2, X264
    yield "rate-23.976.mp4", "160x120", "24000/1001", 5, X264
    yield "rate-29.97.webm", "160x120", "30000/1001", 5, VP9
    yield "rate-1.mp4", "160x120", 1, 40, X264
    yield "rate-240.mp4", "96x64", 240, 1.5, X264
    yield "rate-50.mov", "160x120", 50, 3, f"{MPEG4} -bf 2"
    yield "long.mp4", "96x64", 5, 125, f"{X264} -g 50 -c:a aac"
    yield "long.webm", "96x64", 5, 125, f"{VP8} -g 50 -c:a libvorbis"
    yield "fragmented.mp4", "160x120", 25, 4, f"{X264} -g 25 -movflags frag_keyframe+empty_moov -c:a aac"
    yield "fragmented-dash.mp4", "160x120", 25, 4, f"{X264} -g 25 -movflags dash+global_sidx+frag_keyframe"
    yield "fast.mp4", "160x120", 25, 4, f"{X264} -movflags +faststart -c:a aac"
    yield "no-edits.mp4", "160x120", 25, 3, f"{X264} -use_editlist 0 -c:a aac"
    yield "live.webm", "160x120", 25, 4, f"{VP9} -live 1 -c:a libopus"
    yield "timescale.mp4", "160x120", 25, 3, f"{X264} -video_track_timescale 90000"
    yield "dropped.mp4", "160x120", 25, 4, f"{X264} -vf select=not(mod(n\\,7)*lt(n\\,60)) -vsync vfr"
    yield "dropped.webm", "160x120", 25, 4, f"{VP9} -vf select=gt(mod(n\\,5)\\,1) -vsync vfr"
    yield "slowing.mkv", "160x120", 25, 4, f"{X264} -vf setpts=N*N/250/TB -vsync vfr"
    yield "later.mp4", "160x120", 25, 3, f"{X264} -output_ts_offset 7.3"
    yield "later.webm", "160x120", 25, 3, f"{VP9} -output_ts_offset 7.3"
    yield "later.mkv", "160x120", 25, 3, f"{X264} -output_ts_offset 100 -c:a aac"
    yield "video-later.mp4", "160x120", 25, 3, f"{X264} -vf setpts=PTS+0.5/TB -c:a aac"


def all_of(folder):
    """Paths."""
    for name, size, rate, seconds, options in made():
        path = folder / name
        inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
        if "-c:a" in options:
            inputs += ["-f", "lavfi", "-i", f"{SOUND}:d={seconds + 1}"]
        form = [] if "-pix_fmt" in options or "rgb" in name or "prores" in name or "mjpeg" in name else ["-pix_fmt", "yuv420p"]
        ffmpeg(*inputs, *options.split(), *form, path)
        yield path
    for turn, name in itertools.product((90, 180, 270), ("plain-h264.mp4", "plain-hevc.mov", "size420-162x90.mp4", "form-yuv420p10le.mp4")):
        path = folder / f"turned-{turn}-{name}"
        ffmpeg("-i", folder / name, "-c", "copy", "-metadata:s:v:0", f"rotate={turn}", path)
        yield path
    for begin, name in itertools.product((0.5, 1.23), ("plain-h264.mp4", "sound-h264.mp4", "gop-250-b2.mp4", "plain-hevc.mp4", "plain-av1.mp4", "gop-12-b2.mp4")):
        path = folder / f"cut-{begin}-{name}"  # an edit list leaves out what comes before
        ffmpeg("-ss", begin, "-i", folder / name, "-c", "copy", path)
        yield path
    for name in ("plain-h264.mp4", "plain-vp9.webm"):
        path = folder / f"piped-{name}.{'mkv' if 'mp4' in name else 'webm'}"  # neither length nor index
        with path.open("wb") as out:
            container = "matroska" if "mp4" in name else "webm"
            subprocess.run(["ffmpeg", "-v", "error", "-i", folder / name, "-c", "copy", "-f", container, "-"], stdout=out, check=True)
        yield path
    cover = folder / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, cover)
    path = folder / "covered.mp4"
    ffmpeg("-i", folder / "plain-h264.mp4", "-i", cover, "-map", 1, "-map", 0, "-c", "copy", "-disposition:v:0", "attached_pic", path)
    yield path
