"""What the run book found: each row is on disk as soon as it is known, the table comes last."""

import json


class Results:
    def __init__(self, path, about):
        self.path, self.about, self.rows = path, about, []
        self._save()

    def check(self, step, name, passed, note=""):
        self._add(dict(step=step, name=name, passed=passed, note=note))

    def figure(self, step, name, value, unit, floor=None, note=""):
        """`floor` is the best that can be, in the same unit: as much a second, or as little time."""
        row = dict(step=step, name=name, value=value, unit=unit, note=note)
        if floor is not None:
            share = value / floor if unit.endswith("/s") else floor / value
            row |= dict(floor=floor, percent=100 * share)
        self._add(row)

    def failed(self):
        return [row for row in self.rows if not row.get("passed", True)]

    def table(self):
        lines = []
        for row in self.rows:
            note = f"  {row['note']}" if row["note"] else ""
            if "passed" in row:
                text = "passed" if row["passed"] else "FAILED"
            else:
                text = f"{row['value']:.5g} {row['unit']}"
            floor = f"{row['percent']:5.1f} % of {row['floor']:.4g}" if "percent" in row else ""
            lines.append(f"{row['step']}  {row['name']:44} {text:>18}  {floor:20}{note}".rstrip())
        return "\n".join(lines)

    def _add(self, row):
        self.rows.append(row)
        self._save()
        print(self.table().splitlines()[-1], flush=True)

    def _save(self):
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(dict(**self.about, rows=self.rows), indent=1) + "\n")
        part.replace(self.path)
