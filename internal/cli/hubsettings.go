package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdHubSettings returns the commands about the settings of a hub.
func newCmdHubSettings(st *state.State, l *login) *cobra.Command {
	cmd := family("settings", "Show or change how long a hub keeps things, and how much it does at once")
	cmd.AddCommand(newCmdSettingsShow(st, l), newCmdSettingsSet(st, l))
	return cmd
}

// settingNames are the settings there are, in the order of their names.
func settingNames() []string {
	all := values(client.HubSettings{
		RetentionSeconds: 1, RetentionBytes: 1, CommandTTLSeconds: 1, MaxDeliveryCount: 1,
		FeedbackTTLSeconds: 1, FeedbackLockSeconds: 1, FeedbackMaxDeliveryCount: 1,
		FileUploadDisabled: true, FileUploadContainer: "x", FileUploadTTLSeconds: 1, JobsActive: 1, JobDevicesPerSecond: 1,
		FileNotificationsDisabled: true, FileNotificationTTLSeconds: 1, FileNotificationLockSeconds: 1, FileNotificationMaxDeliveryCount: 1,
	})
	return slices.Sorted(maps.Keys(all))
}

// values returns the settings that are not the default, by name.
func values(s client.HubSettings) map[string]json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // numbers, truths and a text
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		panic(err)
	}
	return all
}

func settingsOf(t *table, s client.HubSettings) {
	t.row("SETTING", "VALUE")
	all := values(s)
	for _, name := range settingNames() {
		if v, ok := all[name]; ok {
			t.row(name, strings.Trim(string(v), `"`))
		} else {
			t.row(name, "default")
		}
	}
}

func newCmdSettingsShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Aliases: []string{"get", "list"}, Short: "Show the settings of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			h, err := a.Hub(ctx, hub)
			if err != nil {
				return err
			}
			return out.print(h.Settings, func(t *table) { settingsOf(t, h.Settings) })
		})
	}
	return cmd
}

func newCmdSettingsSet(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME=VALUE...", Short: "Change settings of a hub; those not named stay", Args: cobra.MinimumNArgs(1),
		Long: "Changes settings of a hub while it runs. NAME= brings the default back. There are\n" + strings.Join(settingNames(), ", ") + ".",
		Example: "  causeway hub settings set jobsActive=5 jobDevicesPerSecond=20\n" +
			"  causeway hub settings set retentionSeconds=",
		ValidArgsFunction: func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, n := range settingNames() {
				if strings.HasPrefix(n+"=", prefix) {
					names = append(names, n+"=")
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			h, err := a.Hub(ctx, hub)
			if err != nil {
				return err
			}
			s, err := changeSettings(h.Settings, args)
			if err != nil {
				return err
			}
			if h, err = a.SetHubSettings(ctx, hub, s); err != nil {
				return err
			}
			return out.print(h.Settings, func(t *table) { settingsOf(t, h.Settings) })
		})
	}
	return cmd
}

// changeSettings returns settings with changes, each NAME=VALUE.
func changeSettings(s client.HubSettings, changes []string) (client.HubSettings, error) {
	all, known := values(s), settingNames()
	for _, text := range changes {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return s, usagef("%q is not NAME=VALUE", text)
		}
		if !slices.Contains(known, name) {
			return s, usagef("there is no setting %q; there are %s", name, strings.Join(known, ", "))
		}
		switch {
		case value == "":
			delete(all, name)
		case json.Valid([]byte(value)) && name != "fileUploadContainer":
			all[name] = json.RawMessage(value)
		default:
			all[name] = json.RawMessage(fmt.Sprintf("%q", value))
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return s, err
	}
	var next client.HubSettings
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&next); err != nil {
		return s, usagef("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return next, nil
}
