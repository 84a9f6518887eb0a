package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdTwin returns the commands about twins.
func NewCmdTwin(st *state.State) *cobra.Command {
	cmd := family("twin", "Show and change the twin of a device or module")
	l := addLogin(cmd, st)
	cmd.AddCommand(newCmdTwinShow(st, l), newCmdTwinChange(st, l, false), newCmdTwinChange(st, l, true))
	return cmd
}

func addModule(cmd *cobra.Command, module *string) {
	cmd.Flags().StringVarP(module, "module", "m", "", "the `module` of the device")
}

func newCmdTwinShow(st *state.State, l *login) *cobra.Command {
	var module string
	cmd := &cobra.Command{
		Use: "show DEVICE", Aliases: []string{"get"}, Short: "Show a twin", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	addModule(cmd, &module)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			t, err := s.Twin(ctx, args[0], module)
			if err != nil {
				return err
			}
			return out.print(t, func(tab *table) { twinTable(tab, t) })
		})
	}
	return cmd
}

func twinTable(tab *table, t client.Twin) {
	id := causeway.Identity{Device: t.DeviceID, Module: t.ModuleID}
	tab.row("twin of", id.String())
	tab.row("connection", t.ConnectionState)
	if t.ModelID != "" {
		tab.row("model", t.ModelID)
	}
	tab.row("etag", t.ETag)
	tab.row("version", t.Version)
	tab.row("tags", withoutMeta(t.Tags))
	tab.row("desired", withoutMeta(t.Properties.Desired))
	tab.row("reported", withoutMeta(t.Properties.Reported))
}

// withoutMeta leaves the "$metadata" of a section out; --output json has it.
func withoutMeta(section json.RawMessage) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(section, &m) != nil {
		return section
	}
	delete(m, "$metadata")
	b, err := json.Marshal(m)
	if err != nil {
		return section
	}
	return b
}

func newCmdTwinChange(st *state.State, l *login, replace bool) *cobra.Command {
	var module, match, tags, desired string
	cmd := &cobra.Command{
		Use: "update DEVICE", Short: "Merge changes into tags and desired properties", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Long:    "Merges JSON objects into the tags and desired properties of a twin; null deletes.\nA value @FILE is read from a file, @- from standard input.",
		Example: "  causeway twin update pump-7 --desired '{\"interval\": 30, \"old\": null}' --tags '{\"site\": \"north\"}'",
	}
	change := (*client.Service).UpdateTwin
	if replace {
		cmd.Use, cmd.Short = "replace DEVICE", "Replace tags and desired properties"
		cmd.Long = "Replaces the tags, the desired properties, or both; a section that is not given stays.\nA value @FILE is read from a file, @- from standard input."
		cmd.Example = "  causeway twin replace pump-7 --desired @desired.json"
		change = (*client.Service).ReplaceTwin
	}
	out := addOutput(cmd, st)
	addModule(cmd, &module)
	addMatch(cmd, &match)
	cmd.Flags().StringVar(&tags, "tags", "", "`JSON` object of tags")
	cmd.Flags().StringVar(&desired, "desired", "", "`JSON` object of desired properties")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var p client.TwinPatch
		var err error
		if p.Tags, err = jsonFlag(st, "--tags", tags); err != nil {
			return err
		}
		if p.Desired, err = jsonFlag(st, "--desired", desired); err != nil {
			return err
		}
		if p.Tags == nil && p.Desired == nil {
			return usagef("nothing to change: pass --tags, --desired or both")
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			t, err := change(s, ctx, args[0], module, p, match)
			if err != nil {
				return err
			}
			return out.print(t, func(tab *table) { twinTable(tab, t) })
		})
	}
	return cmd
}

// jsonFlag reads the JSON of a flag, or of the file that @NAME names.
func jsonFlag(st *state.State, flag, value string) (json.RawMessage, error) {
	if value == "" {
		return nil, nil
	}
	b := []byte(value)
	if name, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if b, err = st.ReadFile(name); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	if err := json.Unmarshal(b, new(any)); err != nil {
		return nil, usagef("%s is not JSON: %v", flag, err)
	}
	return bytes.TrimSpace(b), nil
}

// NewCmdMethod returns the commands about direct methods.
func NewCmdMethod(st *state.State) *cobra.Command {
	cmd := family("method", "Call direct methods of devices")
	l := addLogin(cmd, st)
	var module, payload string
	var response, connect time.Duration
	invoke := &cobra.Command{
		Use: "invoke DEVICE METHOD", Aliases: []string{"call"}, Short: "Call a method and print the answer",
		Long:    "Calls a direct method of a connected device and prints its answer. The exit code is 0 when the\ndevice answered, whatever status it gave.\nA payload @FILE is read from a file, @- from standard input.",
		Example: "  causeway method invoke pump-7 reboot --payload '{\"delay\": 5}'",
		Args:    exactArgs("DEVICE", "METHOD"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(invoke, st)
	addModule(invoke, &module)
	invoke.Flags().StringVarP(&payload, "payload", "p", "", "`JSON` argument; default null")
	invoke.Flags().DurationVar(&response, "timeout", causeway.DefaultMethodWait, "how long to wait for the answer, 5s to 5m")
	invoke.Flags().DurationVar(&connect, "connect-timeout", 0, "how long to wait for the device to connect, up to 5m")
	invoke.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := jsonFlag(st, "--payload", payload)
		if err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			res, err := s.Invoke(ctx, args[0], module, client.MethodCall{Name: args[1], Payload: body, ResponseTimeout: response, ConnectTimeout: connect})
			if err != nil {
				return err
			}
			return out.print(res, func(t *table) {
				t.row("status", res.Status)
				t.row("payload", res.Payload)
			})
		})
	}
	cmd.AddCommand(invoke)
	return cmd
}
