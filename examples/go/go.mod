module softsplice.dev/go

go 1.19

require (
	google.golang.org/grpc v1.60.0
	google.golang.org/protobuf v1.32.0
)
