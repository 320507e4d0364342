// Asks a decoder about a picture and prints the answer as it comes.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	softsplice "softsplice.dev/go/softsplice/v1"
)

// gRPC itself retries calls that were refused, when the server says.
const retries = `{"methodConfig": [{
  "name": [{"service": "softsplice.v1.DecoderService"}],
  "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "10s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}`

const deadline = 300 * time.Second

func ask(server, picture, question string) error {
	data, err := os.ReadFile(picture)
	if err != nil {
		return err
	}
	connection, err := grpc.Dial(server, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(retries))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	parts := []*softsplice.Part{
		{Part: &softsplice.Part_Media{Media: &softsplice.Media{Data: data}}},
		{Part: &softsplice.Part_Text{Text: question}},
	}
	chat := &softsplice.Chat{
		Messages: []*softsplice.Message{{Role: softsplice.Role_ROLE_USER, Parts: parts}},
	}
	stream, err := softsplice.NewDecoderServiceClient(connection).Generate(ctx, &softsplice.GenerateRequest{
		Prompt:   &softsplice.GenerateRequest_Chat{Chat: chat},
		Sampling: &softsplice.Sampling{Temperature: proto.Float32(0)},
	})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			fmt.Println()
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Print(event.GetDelta().GetText())
	}
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "Usage: ask SERVER PICTURE QUESTION")
		os.Exit(2)
	}
	if err := ask(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
