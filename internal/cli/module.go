package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdModule returns the commands about modules of devices.
func NewCmdModule(st *state.State) *cobra.Command {
	cmd := family("module", "Register, show and change modules of a device")
	l := addLogin(cmd, st)
	cmd.AddCommand(
		newCmdModuleCreate(st, l), newCmdModuleList(st, l), newCmdModuleShow(st, l), newCmdModuleUpdate(st, l),
		newCmdModuleDelete(st, l), newCmdKeys(st, l, true), newCmdConnectionString(st, l, true), newCmdSAS(st, l, true),
	)
	return cmd
}

func moduleTable(t *table, host string, m client.ModuleIdentity) {
	t.row("device", m.DeviceID)
	t.row("module", m.ModuleID)
	t.row("managed by", m.ManagedBy)
	t.row("connection", m.ConnectionState)
	t.row("last activity", m.LastActivityTime.Time)
	t.row("queued commands", m.CloudToDeviceMessageCount)
	if m.Authentication != nil {
		t.row("authentication", m.Authentication.Type)
	}
	t.row("etag", m.ETag)
	t.row("connection string", client.ConnectionString(host, m.DeviceID, m.ModuleID, m.Authentication))
}

func newCmdModuleCreate(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create DEVICE MODULE", Aliases: []string{"add"}, Short: "Register a module", Args: exactArgs("DEVICE", "MODULE"), ValidArgsFunction: l.completeDevices,
	}
	out, p := addOutput(cmd, st), addProof(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		auth, err := p.authentication()
		if err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			m, err := s.CreateModule(ctx, client.ModuleIdentity{DeviceID: args[0], ModuleID: args[1], Authentication: auth})
			if err != nil {
				return err
			}
			return out.print(m, func(t *table) { moduleTable(t, s.Host(), m) })
		})
	}
	return cmd
}

func newCmdModuleList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list DEVICE", Aliases: []string{"ls"}, Short: "List the modules of a device", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			list, err := s.Modules(ctx, args[0])
			if err != nil {
				return err
			}
			if list == nil {
				list = []client.ModuleIdentity{}
			}
			return out.print(list, func(t *table) {
				t.row("MODULE", "CONNECTION", "MANAGED BY", "LAST ACTIVITY")
				for _, m := range list {
					t.row(m.ModuleID, m.ConnectionState, m.ManagedBy, m.LastActivityTime.Time)
				}
			})
		})
	}
	return cmd
}

func newCmdModuleShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show DEVICE MODULE", Aliases: []string{"get"}, Short: "Show a module", Args: exactArgs("DEVICE", "MODULE"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			m, err := s.Module(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return out.print(m, func(t *table) { moduleTable(t, s.Host(), m) })
		})
	}
	return cmd
}

func newCmdModuleUpdate(st *state.State, l *login) *cobra.Command {
	var match, managedBy string
	cmd := &cobra.Command{
		Use: "update DEVICE MODULE", Short: "Change a module's authentication", Args: exactArgs("DEVICE", "MODULE"), ValidArgsFunction: l.completeDevices,
	}
	out, p := addOutput(cmd, st), addProof(cmd)
	cmd.Flags().StringVar(&managedBy, "managed-by", "", "who runs the module, e.g. iotEdge")
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		auth, err := p.authentication()
		if err != nil {
			return err
		}
		if auth == nil && !cmd.Flags().Changed("managed-by") {
			return usagef("nothing to change: pass --managed-by or flags of the authentication")
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			m, err := s.Module(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			if auth != nil {
				m.Authentication = auth
			}
			if cmd.Flags().Changed("managed-by") {
				m.ManagedBy = managedBy
			}
			if match == "" {
				match = m.ETag
			}
			if m, err = s.UpdateModule(ctx, m, match); err != nil {
				return err
			}
			return out.print(m, func(t *table) { moduleTable(t, s.Host(), m) })
		})
	}
	return cmd
}

func newCmdModuleDelete(st *state.State, l *login) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete DEVICE MODULE", Aliases: []string{"rm"}, Short: "Remove a module", Args: exactArgs("DEVICE", "MODULE"), ValidArgsFunction: l.completeDevices,
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if err := s.DeleteModule(ctx, args[0], args[1], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted module %s/%s\n", args[0], args[1])
			return nil
		})
	}
	return cmd
}

func decodeKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, errors.New("the key is not base64")
	}
	return key, nil
}
