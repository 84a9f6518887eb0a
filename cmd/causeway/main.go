// Causeway is an open, self-hosted IoT cloud in one program; see package cli.
package main

import (
	"context"
	"os"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli"
)

// version is set by the linker: -X main.version=…
var version string

func main() {
	st := state.OS()
	st.Version = version
	os.Exit(cli.Main(context.Background(), st))
}
