// Asks a decoder about a picture and prints the answer as it comes.
"use strict";

const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

// gRPC itself retries calls that were refused, when the server says.
const RETRIES = {
  methodConfig: [
    {
      name: [{ service: "softsplice.v1.DecoderService" }],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.5s",
        maxBackoff: "10s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
};
const DEADLINE_SECONDS = 300;

function ask(server, picture, question) {
  const definition = protoLoader.loadSync("softsplice/v1/decoder.proto", {
    includeDirs: [path.join(__dirname, "..", "..", "proto")],
    keepCase: true,
  });
  const { DecoderService } = grpc.loadPackageDefinition(definition).softsplice.v1;
  const client = new DecoderService(server, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(RETRIES),
  });
  const parts = [{ media: { data: fs.readFileSync(picture) } }, { text: question }];
  const request = {
    chat: { messages: [{ role: "ROLE_USER", parts }] },
    sampling: { temperature: 0 },
  };
  const deadline = new Date(Date.now() + DEADLINE_SECONDS * 1000);
  const call = client.Generate(request, { deadline });
  call.on("data", (event) => {
    if (event.delta) process.stdout.write(event.delta.text);
  });
  call.on("end", () => {
    process.stdout.write("\n");
    client.close();
  });
  call.on("error", (error) => {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    client.close();
    process.exitCode = 1;
  });
}

if (process.argv.length !== 5) {
  console.error("Usage: node ask.js SERVER PICTURE QUESTION");
  process.exitCode = 2;
} else {
  ask(...process.argv.slice(2));
}
