package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdDigitalTwin returns the commands about digital twins.
func NewCmdDigitalTwin(st *state.State) *cobra.Command {
	cmd := family("digital-twin", "Show and change a device by the conventions of IoT Plug and Play")
	l := addLogin(cmd, st)
	cmd.AddCommand(newCmdDigitalTwinShow(st, l), newCmdDigitalTwinUpdate(st, l), newCmdDigitalTwinInvoke(st, l))
	return cmd
}

func newCmdDigitalTwinShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show DEVICE", Aliases: []string{"get"}, Short: "Show a digital twin", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Long: "Shows the values that a device reports, those of its components, and under $metadata what is\nwanted of it and what it has acknowledged.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			t, err := s.DigitalTwin(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(t.Document, func(tab *table) {
				tab.row("digital twin of", args[0])
				tab.row("etag", t.ETag)
				tab.row("document", t.Document)
			})
		})
	}
	return cmd
}

// step is one operation of a JSON Patch.
type step struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

func newCmdDigitalTwinUpdate(st *state.State, l *login) *cobra.Command {
	var match, patch string
	var set, remove []string
	cmd := &cobra.Command{
		Use: "update DEVICE", Short: "Change writable properties", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Long: "Changes what is wanted of a device: properties by --set and --remove, or by a JSON Patch. A path\n" +
			"names a property, or a component and its property.\nA patch @FILE is read from a file, @- from standard input.",
		Example: "  causeway digital-twin update pump-7 --set thermostat1/targetTemperature=21\n" +
			"  causeway digital-twin update pump-7 --json-patch '[{\"op\": \"add\", \"path\": \"/interval\", \"value\": 30}]'",
	}
	out := addOutput(cmd, st)
	addMatch(cmd, &match)
	cmd.Flags().StringArrayVar(&set, "set", nil, "`PATH=JSON` of a property and its value; text need not be quoted")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "`PATH` of what is no longer wanted")
	cmd.Flags().StringVar(&patch, "json-patch", "", "`JSON` Patch (RFC 6902)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		doc, err := jsonFlag(st, "--json-patch", patch)
		if err != nil {
			return err
		}
		steps, err := steps(set, remove)
		if err != nil {
			return err
		}
		switch {
		case doc == nil && len(steps) == 0:
			return usagef("nothing to change: pass --set, --remove or --json-patch")
		case doc != nil && len(steps) > 0:
			return usagef("--json-patch says everything; it goes without --set and --remove")
		case doc == nil:
			if doc, err = json.Marshal(steps); err != nil {
				return err
			}
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			etag, err := s.UpdateDigitalTwin(ctx, args[0], doc, match)
			if err != nil {
				return err
			}
			return out.print(map[string]string{"etag": etag}, func(tab *table) { tab.row("etag", etag) })
		})
	}
	return cmd
}

// steps makes a patch of flags.
func steps(set, remove []string) ([]step, error) {
	var all []step
	for _, s := range set {
		path, text, ok := strings.Cut(s, "=")
		if !ok || path == "" {
			return nil, usagef("--set %s: write PATH=JSON, such as thermostat1/targetTemperature=21", s)
		}
		value := json.RawMessage(text)
		if !json.Valid(value) {
			quoted, err := json.Marshal(text)
			if err != nil {
				return nil, err
			}
			value = quoted
		}
		all = append(all, step{Op: "add", Path: "/" + strings.TrimPrefix(path, "/"), Value: value})
	}
	for _, path := range remove {
		all = append(all, step{Op: "remove", Path: "/" + strings.TrimPrefix(path, "/")})
	}
	return all, nil
}

func newCmdDigitalTwinInvoke(st *state.State, l *login) *cobra.Command {
	var component, payload string
	var response, connect time.Duration
	cmd := &cobra.Command{
		Use: "invoke DEVICE COMMAND", Aliases: []string{"invoke-command"}, Short: "Invoke a command and print the answer",
		Long: "Invokes a command of a connected device, or of one of its components, and prints its answer. The\n" +
			"exit code is 0 when the device answered, whatever status it gave.\nA payload @FILE is read from a file, @- from standard input.",
		Example: "  causeway digital-twin invoke pump-7 getMaxMinReport --component thermostat1 --payload '\"2026-01-01T00:00:00Z\"'",
		Args:    exactArgs("DEVICE", "COMMAND"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&component, "component", "", "the `component` of the device; without it, the device itself")
	cmd.Flags().StringVarP(&payload, "payload", "p", "", "`JSON` argument; default none")
	cmd.Flags().DurationVar(&response, "timeout", causeway.DefaultMethodWait, "how long to wait for the answer, 5s to 5m")
	cmd.Flags().DurationVar(&connect, "connect-timeout", 0, "how long to wait for the device to connect, up to 5m")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := jsonFlag(st, "--payload", payload)
		if err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			res, err := s.InvokeCommand(ctx, args[0], component, client.MethodCall{Name: args[1], Payload: body, ResponseTimeout: response, ConnectTimeout: connect})
			if err != nil {
				return err
			}
			return out.print(res, func(t *table) {
				t.row("status", res.Status)
				t.row("payload", res.Payload)
			})
		})
	}
	return cmd
}
