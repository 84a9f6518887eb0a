package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// Version is what was built.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the working copy had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version reads what the linker was told and noted.
func version(st *state.State) Version {
	v := Version{Version: "development", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if st.Version != "" {
		v.Version = st.Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; st.Version == "" && m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// NewCmdVersion returns the command that says what this program is.
func NewCmdVersion(st *state.State) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := version(st)
		return out.print(v, func(t *table) {
			t.row("version", v.Version)
			if v.Revision != "" {
				t.row("revision", v.Revision)
			}
			t.row("go", v.Go)
			t.row("platform", v.Platform)
		})
	}
	return cmd
}

// NewCmdConfig returns the commands about the configuration file, and those about
// configurations of devices, which tools call by the same word.
func NewCmdConfig(st *state.State) *cobra.Command {
	example := &cobra.Command{
		Use: "example", Short: "Print a configuration file with every setting and its default", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(st.Stdout, config.Example())
			return err
		},
	}
	check := &cobra.Command{
		Use: "check FILE", Aliases: []string{"lint"}, Short: "Say what is wrong with a configuration file", Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, _, err := loadConfig(st, args[0])
			if err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return &usageError{err: fmt.Errorf("%s: %w", args[0], err)}
			}
			fmt.Fprintf(st.Stderr, "%s is fine\n", args[0])
			return nil
		},
	}
	example.GroupID, check.GroupID = "file", "file"
	cmd := family("config", "Configure devices, and the server by its file")
	cmd.Aliases = []string{"configuration"}
	cmd.AddGroup(&cobra.Group{ID: "devices", Title: "Devices:"}, &cobra.Group{ID: "file", Title: "The server's file:"})
	cmd.AddCommand(example, check)
	addConfigurations(cmd, st)
	return cmd
}
