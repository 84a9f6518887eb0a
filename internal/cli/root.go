// Package cli is the command line of Causeway: the tree of commands, their
// flags, how results are printed and what exit codes mean.
//
// Every command is made by a function NewCmdX(st), which gets the world from a
// [state.State] and keeps nothing outside of it, so that a test can run any
// command in memory. What commands do is the business of the packages below:
// app/cloud runs a cloud, client talks to one, cli/sim and cli/bench make load.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/internal/app/state"
)

// Main runs the command that st's arguments name and returns its exit code.
func Main(ctx context.Context, st *state.State) int {
	ctx, stop := st.Signals(ctx)
	defer stop()
	root := NewCmdRoot(st)
	root.SetArgs(st.Args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	if asked := ctx.Err(); errors.Is(asked, context.Canceled) && errors.Is(err, asked) {
		if cmd.Annotations[endless] != "" {
			return ExitOK // Ctrl-C is how it is ended
		}
		fmt.Fprintf(st.Stderr, "interrupted: %q had not ended\n", cmd.CommandPath())
		return ExitInterrupted
	}
	if u, ok := errors.AsType[*usageError](err); ok && u.cmd == "" {
		u.cmd = cmd.CommandPath()
	}
	fmt.Fprintln(st.Stderr, explain(err))
	return exitCode(err)
}

const rootLong = `Causeway is an open, self-hosted IoT cloud that speaks the protocols of Azure
IoT Hub: devices and back ends written for it work unchanged.

  causeway quickstart         a cloud with one hub and a simulated sensor, here and now
  causeway monitor            watch what devices send
  causeway device create d1   register a device
  causeway dps register d2    a device that finds its hub by itself
  causeway cloud              run a cloud for real, see 'causeway config example'

Commands that talk to a cloud find it by themselves when one was started in
this directory. Otherwise give them a connection string with --login or in
CAUSEWAY_CONNECTION_STRING.`

// endless marks commands that only Ctrl-C ends.
const endless = "endless"

func endlessly() map[string]string { return map[string]string{endless: "yes"} }

// NewCmdRoot returns the whole tree of commands.
func NewCmdRoot(st *state.State) *cobra.Command {
	root := &cobra.Command{
		Use:           "causeway",
		Short:         "An open, self-hosted IoT cloud",
		Long:          rootLong + "\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(st.Stdin)
	root.SetOut(st.Stdout)
	root.SetErr(st.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, cmd: cmd.CommandPath()}
	})
	root.SetHelpCommand(newCmdHelp(root))
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "use", Title: "Use:"},
		&cobra.Group{ID: "load", Title: "Make load:"},
	)
	for _, c := range []struct {
		group string
		make  func(*state.State) *cobra.Command
	}{
		{"run", NewCmdQuickstart},
		{"run", NewCmdCloud},
		{"run", NewCmdConfig},
		{"use", NewCmdHub},
		{"use", NewCmdDevice},
		{"use", NewCmdModule},
		{"use", NewCmdTwin},
		{"use", NewCmdQuery},
		{"use", NewCmdDigitalTwin},
		{"use", NewCmdC2D},
		{"use", NewCmdMethod},
		{"use", NewCmdJob},
		{"use", NewCmdMonitor},
		{"use", NewCmdRoute},
		{"use", NewCmdBlob},
		{"use", NewCmdDPS},
		{"load", NewCmdSim},
		{"load", NewCmdBench},
		{"", NewCmdVersion},
	} {
		cmd := c.make(st)
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	return root
}

// newCmdHelp explains a command, and says so when there is none of that name: what
// the library has for it would explain the nearest one there is.
func newCmdHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]...", Short: "Help about any command", Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, prefix string) (names []string, _ cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for errors
			}
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), prefix) {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return &usageError{err: err, cmd: root.CommandPath()}
			}
			if len(rest) > 0 {
				return unknownSub(cmd, rest)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// family is a command that only has others below it.
func family(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: unknownSub,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownSub(cmd, args)
}

// unknownSub refuses words where a command was expected.
func unknownSub(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return &usageError{err: fmt.Errorf("%q takes no arguments, but got %q", cmd.CommandPath(), args[0]), cmd: cmd.CommandPath()}
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2 // as the root has it
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	for i, s := range cmd.SuggestionsFor(args[0]) {
		if i == 0 {
			text += "; did you mean"
		} else {
			text += " or"
		}
		text += fmt.Sprintf(" %q", s)
	}
	return &usageError{err: errors.New(text), cmd: cmd.CommandPath()}
}

// exactArgs wants one argument per name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return &usageError{err: fmt.Errorf("%s is missing", names[len(args)]), cmd: cmd.CommandPath()}
		}
		if len(args) > len(names) {
			return &usageError{err: fmt.Errorf("unexpected argument %q", args[len(names)]), cmd: cmd.CommandPath()}
		}
		for i, a := range args {
			if a == "" { // such as a variable that a script has not set
				return &usageError{err: fmt.Errorf("%s is empty", names[i]), cmd: cmd.CommandPath()}
			}
		}
		return nil
	}
}
