// Causeway is an open, self-hosted IoT cloud in one program; see package cli.
package main

import (
	"context"
	"os"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli"
)

func main() { os.Exit(cli.Main(context.Background(), state.OS())) }
