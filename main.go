// Command sealpost is an end-to-end encrypted messenger: the relay, the client
// and the offline tools in one binary.
package main

import (
	"os"

	"sealpost/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
