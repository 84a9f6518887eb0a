package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdHubAuthority returns the commands about the certificate authorities
// that devices of a hub may have certificates of.
func newCmdHubAuthority(st *state.State, l *login) *cobra.Command {
	cmd := family("authority", "Register the certificate authorities that devices may have certificates of")
	cmd.AddCommand(newCmdAuthorityAdd(st, l), newCmdAuthorityList(st, l), newCmdAuthorityRemove(st, l))
	return cmd
}

func authorityTable(t *table, list []client.Authority) {
	t.row("NAME", "SUBJECT", "ENDS", "VERIFIED", "SHA-256")
	for _, a := range list {
		t.row(a.Name, a.Subject, a.NotAfter.Time, a.Verified, a.SHA256)
	}
}

func newCmdAuthorityAdd(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME FILE", Short: "Register the authority in a PEM file", Args: exactArgs("NAME", "FILE"),
		Long: `Registers a certificate authority. Devices of the authentication type
certificateAuthority may then connect with a certificate that the authority, or an
intermediate of it, has issued to their device id as common name.`,
		Example: "  causeway hub authority add plant plant-ca.pem\n  causeway device create press-7 --auth certificateAuthority",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		pem, err := st.ReadFile(args[1])
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.PutAuthority(ctx, name, args[0], string(pem))
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) { authorityTable(t, list) })
		})
	}
	return cmd
}

func newCmdAuthorityList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the authorities of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.Authorities(ctx, name)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) { authorityTable(t, list) })
		})
	}
	return cmd
}

func newCmdAuthorityRemove(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove an authority", Args: exactArgs("NAME")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			if err := a.DeleteAuthority(ctx, name, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "removed authority %s\n", args[0])
			return nil
		})
	}
	return cmd
}
