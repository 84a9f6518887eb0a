package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdDPSCredential returns the commands about which certificates are issued.
func newCmdDPSCredential(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("credential-policy", "Say which certificates are issued to devices")
	cmd.Long = `A provisioning service issues operational certificates to the devices of enrollments
that name a credential policy: when they register with a certificate request, and
over EST at https://HOST/.well-known/est/ID-SCOPE.`
	cmd.AddCommand(newCmdCredentialList(st, l), newCmdCredentialPut(st, l, true), newCmdCredentialPut(st, l, false), newCmdCredentialDelete(st, l))
	return cmd
}

func credentialTable(t *table, list ...client.CredentialPolicy) {
	t.row("POLICY", "LIFETIME", "RENEWED", "KEYS")
	for _, p := range list {
		renewed, keys := "at any time", "all"
		if p.RenewBeforeSeconds > 0 {
			renewed = "in the last " + spanText(p.RenewBeforeSeconds)
		}
		if len(p.KeyTypes) > 0 {
			keys = strings.Join(p.KeyTypes, ", ")
		}
		t.row(p.Name, spanText(p.LifetimeSeconds), renewed, keys)
	}
}

// spanText writes seconds in days, or as Go does.
func spanText(seconds int64) string {
	const day = 24 * 60 * 60
	if seconds%day == 0 {
		return strconv.FormatInt(seconds/day, 10) + "d"
	}
	return (time.Duration(seconds) * time.Second).String()
}

// span reads seconds as spanText writes them.
func span(flag, text string) (int64, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n >= 0 {
			return n * 24 * 60 * 60, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, usagef("%s %q is not a time such as 90d or 36h", flag, text)
	}
	return int64(d.Seconds()), nil
}

func newCmdCredentialList(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the credential policies", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			list, err := a.CredentialPolicies(ctx, name)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) { credentialTable(t, list...) })
		})
	}
	return cmd
}

// newCmdCredentialPut returns the command that makes a credential policy, or the
// one that changes it.
func newCmdCredentialPut(st *state.State, l *dpsLogin, create bool) *cobra.Command {
	var lifetime, renew, match string
	var keys []string
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Make a credential policy", Args: exactArgs("NAME"),
		Example: `  causeway dps credential-policy create operations --lifetime 90d --renew-before 30d
  causeway dps group update devices --credential-policy operations`,
	}
	if !create {
		cmd.Use, cmd.Aliases, cmd.Short = "update NAME", nil, "Change a credential policy; what was issued stays as it is"
		cmd.Example = "  causeway dps credential-policy update operations --lifetime 30d"
		addMatch(cmd, &match)
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.StringVar(&lifetime, "lifetime", "90d", "how long a certificate is valid, a `time` such as 90d or 36h")
	f.StringVar(&renew, "renew-before", "0d", "how long before its end it may be renewed with itself, a `time`; 0d is at any time")
	f.StringSliceVar(&keys, "key-types", nil, "`types` of keys that are accepted, separated by commas; without it all")
	_ = cmd.RegisterFlagCompletionFunc("key-types", cobra.FixedCompletions(
		[]string{"ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p := client.CredentialPolicy{Name: args[0], KeyTypes: keys}
		var err error
		if p.LifetimeSeconds, err = span("--lifetime", lifetime); err != nil {
			return err
		}
		if p.RenewBeforeSeconds, err = span("--renew-before", renew); err != nil {
			return err
		}
		changed := cmd.Flags().Changed
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			if !create {
				old, err := credentialPolicy(ctx, a, name, args[0])
				if err != nil {
					return err
				}
				if match == "" {
					match = old.ETag // it must still be so
				}
				if !changed("lifetime") {
					p.LifetimeSeconds = old.LifetimeSeconds
				}
				if !changed("renew-before") {
					p.RenewBeforeSeconds = old.RenewBeforeSeconds
				}
				if !changed("key-types") {
					p.KeyTypes = old.KeyTypes
				}
			}
			p, err := a.PutCredentialPolicy(ctx, name, p, match)
			if create && causeway.CodeOf(err) == causeway.GenericPreconditionFailed {
				err = causeway.Errorf(causeway.GenericConflict, "put credential policy", "the credential policy %q is there already: change it with 'causeway dps credential-policy update'", args[0])
			}
			if err != nil {
				return err
			}
			return out.print(p, func(t *table) { credentialTable(t, p) })
		})
	}
	return cmd
}

// credentialPolicy returns a policy by its name.
func credentialPolicy(ctx context.Context, a *client.Admin, service, name string) (client.CredentialPolicy, error) {
	list, err := a.CredentialPolicies(ctx, service)
	if err != nil {
		return client.CredentialPolicy{}, err
	}
	for _, p := range list {
		if strings.EqualFold(p.Name, name) {
			return p, nil
		}
	}
	return client.CredentialPolicy{}, causeway.Errorf(causeway.GenericNotFound, "credential policy", "the provisioning service %s has no credential policy %q: make it with 'causeway dps credential-policy create'", service, name)
}

func newCmdCredentialDelete(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{Use: "delete NAME", Aliases: []string{"rm"}, Short: "Remove a credential policy that no enrollment names", Args: exactArgs("NAME")}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			if match == "" {
				old, err := credentialPolicy(ctx, a, name, args[0])
				if err != nil {
					return err
				}
				match = old.ETag
			}
			if err := a.DeleteCredentialPolicy(ctx, name, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted credential policy %s\n", args[0])
			return nil
		})
	}
	return cmd
}
