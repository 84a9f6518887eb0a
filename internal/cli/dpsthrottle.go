package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// newCmdDPSThrottle returns the commands about how many calls a provisioning
// service takes.
func newCmdDPSThrottle(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("throttle", "Limit how many calls a provisioning service takes", newCmdDPSThrottleShow(st, l), newCmdDPSThrottleSet(st, l), newCmdDPSThrottleClear(st, l))
	cmd.Long = `A provisioning service takes what comes, unless it is held to limits: registrations
of all devices and operations of back ends in a minute, and polls (questions for the
outcome) of one device in ten seconds. Above that devices and back ends are told when
to come again.`
	return cmd
}

func throttleTable(t *table, v client.ProvisioningThrottle) {
	t.row("preset", cmp.Or(v.Preset, "none"))
	for l := range dps.NumLimits {
		text := "no limit"
		if n, ok := v.Effective[l.String()]; ok {
			text = fmt.Sprintf("%d in %s", n, l.Per())
		}
		t.row(l.String(), text)
	}
}

func newCmdDPSThrottleShow(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Aliases: []string{"get"}, Short: "Show the limits", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			v, err := a.ProvisioningThrottle(ctx, name)
			if err != nil {
				return err
			}
			return out.print(v, func(t *table) { throttleTable(t, v) })
		})
	}
	return cmd
}

func newCmdDPSThrottleSet(st *state.State, l *dpsLogin) *cobra.Command {
	var limits []string
	cmd := &cobra.Command{
		Use: "set [PRESET]", Short: "Hold the service to the limits of a preset, or to others", Args: maybePreset,
		Long: "Holds the service to the limits of a preset (" + strings.Join(dps.ThrottlePresets(), ", ") + "), to those of --limit, or to both: --limit\nreplaces those of the preset.",
		Example: `  causeway dps throttle set standard-s1
  causeway dps throttle set --limit registrations=5000 --limit polls=10`,
		ValidArgs: dps.ThrottlePresets(),
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringArrayVar(&limits, "limit", nil, "`NAME=NUMBER`, may be repeated: "+strings.Join(dps.LimitNames(), ", ")+"; 0 is no limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v := client.ProvisioningThrottle{Limits: map[string]int{}}
		if len(args) > 0 {
			v.Preset = args[0]
		}
		for _, text := range limits {
			name, number, _ := strings.Cut(text, "=")
			n, err := strconv.Atoi(number)
			if err != nil {
				return usagef("--limit %q is not NAME=NUMBER", text)
			}
			v.Limits[name] = n
		}
		if v.Preset == "" && len(v.Limits) == 0 {
			return usagef("say which limits: a preset (%s) or --limit", strings.Join(dps.ThrottlePresets(), ", "))
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			v, err := a.SetProvisioningThrottle(ctx, name, v)
			if err != nil {
				return err
			}
			return out.print(v, func(t *table) { throttleTable(t, v) })
		})
	}
	return cmd
}

func maybePreset(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{err: fmt.Errorf("unexpected argument %q", args[1]), cmd: cmd.CommandPath()}
	}
	return nil
}

func newCmdDPSThrottleClear(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "clear", Short: "Take what comes", Args: noArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			if _, err := a.SetProvisioningThrottle(ctx, name, client.ProvisioningThrottle{}); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "the provisioning service %s takes what comes\n", name)
			return nil
		})
	}
	return cmd
}
