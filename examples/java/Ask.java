import com.google.protobuf.ByteString;
import dev.softsplice.v1.Chat;
import dev.softsplice.v1.DecoderServiceGrpc;
import dev.softsplice.v1.GenerateRequest;
import dev.softsplice.v1.GenerateResponse;
import dev.softsplice.v1.Media;
import dev.softsplice.v1.Message;
import dev.softsplice.v1.Part;
import dev.softsplice.v1.Role;
import dev.softsplice.v1.Sampling;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Asks a decoder about a picture and prints the answer as it comes. */
public final class Ask {
  /** gRPC itself retries calls that were refused, when the server says. Numbers have to be Doubles. */
  private static final Map<String, ?> RETRIES =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  List.of(Map.of("service", "softsplice.v1.DecoderService")),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts", 5.0,
                      "initialBackoff", "0.5s",
                      "maxBackoff", "10s",
                      "backoffMultiplier", 2.0,
                      "retryableStatusCodes", List.of("UNAVAILABLE", "RESOURCE_EXHAUSTED")))));

  private static final long DEADLINE_SECONDS = 300;

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 3) {
      System.err.println("Usage: Ask SERVER PICTURE QUESTION");
      System.exit(2);
    }
    ByteString picture = ByteString.copyFrom(Files.readAllBytes(Path.of(arguments[1])));
    Message message =
        Message.newBuilder()
            .setRole(Role.ROLE_USER)
            .addParts(Part.newBuilder().setMedia(Media.newBuilder().setData(picture)))
            .addParts(Part.newBuilder().setText(arguments[2]))
            .build();
    GenerateRequest request =
        GenerateRequest.newBuilder()
            .setChat(Chat.newBuilder().addMessages(message))
            .setSampling(Sampling.newBuilder().setTemperature(0))
            .build();
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(arguments[0])
            .usePlaintext()
            .defaultServiceConfig(RETRIES)
            .enableRetry()
            .build();
    try {
      Iterator<GenerateResponse> events =
          DecoderServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS)
              .generate(request);
      while (events.hasNext()) {
        System.out.print(events.next().getDelta().getText());
        System.out.flush();
      }
      System.out.println();
    } catch (StatusRuntimeException error) {
      System.err.println(error.getStatus());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
