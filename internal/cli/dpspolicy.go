package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// ownerDPSPolicy is the policy that every provisioning service begins with.
const ownerDPSPolicy = "provisioningserviceowner"

func addPolicyName(cmd *cobra.Command, policy *string) {
	cmd.Flags().StringVar(policy, "policy", *policy, "`name` of the policy")
	_ = cmd.RegisterFlagCompletionFunc("policy", cobra.FixedCompletions([]string{ownerDPSPolicy}, cobra.ShellCompDirectiveNoFileComp))
}

// newCmdDPSPolicy returns the commands about the shared access policies of a
// provisioning service.
func newCmdDPSPolicy(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("policy", "Manage the shared access policies of a provisioning service")
	cmd.Long = `Back ends show the token of a policy, which says what they may do: ServiceConfig,
EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite.
To write includes to read.`
	cmd.AddCommand(
		newCmdDPSPolicyList(st, l), newCmdDPSPolicyShow(st, l), newCmdDPSPolicyPut(st, l, true), newCmdDPSPolicyPut(st, l, false),
		newCmdDPSPolicyDelete(st, l), newCmdDPSPolicyRegenerate(st, l),
	)
	return cmd
}

func provisioningPolicyTable(t *table, p client.ProvisioningPolicy) {
	t.row("policy", p.Name)
	t.row("rights", strings.Join(p.Rights, ", "))
	if p.PrimaryKey != "" {
		t.row("primary key", p.PrimaryKey)
		t.row("secondary key", p.SecondaryKey)
		t.row("connection string", p.ConnectionString)
	}
}

func newCmdDPSPolicyList(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the policies and what they allow", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ProvisioningService(ctx, name)
			if err != nil {
				return err
			}
			return out.print(s.Policies, func(t *table) {
				t.row("POLICY", "RIGHTS")
				for _, p := range s.Policies {
					t.row(p.Name, strings.Join(p.Rights, ", "))
				}
			})
		})
	}
	return cmd
}

// policyOf returns a policy of a service, with its keys if they are wanted.
func policyOf(ctx context.Context, a *client.Admin, service, policy string, keys bool) (client.ProvisioningPolicy, error) {
	p, err := a.ProvisioningKeys(ctx, service, policy)
	if !keys {
		p.PrimaryKey, p.SecondaryKey, p.ConnectionString = "", "", ""
	}
	return p, err
}

func newCmdDPSPolicyShow(st *state.State, l *dpsLogin) *cobra.Command {
	var keys bool
	cmd := &cobra.Command{Use: "show POLICY", Aliases: []string{"get"}, Short: "Show a policy", Args: exactArgs("POLICY")}
	out := addOutput(cmd, st)
	addShowKeys(cmd, &keys)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			p, err := policyOf(ctx, a, name, args[0], keys)
			if err != nil {
				return err
			}
			return out.print(p, func(t *table) { provisioningPolicyTable(t, p) })
		})
	}
	return cmd
}

func addShowKeys(cmd *cobra.Command, keys *bool) {
	cmd.Flags().BoolVar(keys, "show-keys", false, "show symmetric keys")
}

// newCmdDPSPolicyPut returns the command that makes a policy, or the one that
// changes it.
func newCmdDPSPolicyPut(st *state.State, l *dpsLogin, create bool) *cobra.Command {
	var rights []string
	var match string
	cmd := &cobra.Command{
		Use: "create POLICY", Aliases: []string{"add"}, Short: "Make a policy with two new keys", Args: exactArgs("POLICY"),
		Example: "  causeway dps policy create dashboard --rights EnrollmentRead,RegistrationStatusRead",
	}
	if !create {
		cmd.Use, cmd.Aliases, cmd.Short = "update POLICY", nil, "Give a policy other rights"
		cmd.Example = "  causeway dps policy update dashboard --rights EnrollmentRead"
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringSliceVar(&rights, "rights", nil, "what it allows, `names` separated by commas")
	_ = cmd.RegisterFlagCompletionFunc("rights", cobra.FixedCompletions(
		[]string{"ServiceConfig", "EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite"}, cobra.ShellCompDirectiveNoFileComp))
	if !create {
		addMatch(cmd, &match)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(rights) == 0 {
			return usagef("pass --rights, for example --rights EnrollmentRead,RegistrationStatusRead")
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ProvisioningService(ctx, name)
			if err != nil {
				return err
			}
			exists := false
			for _, p := range s.Policies {
				exists = exists || p.Name == args[0]
			}
			switch {
			case create && exists:
				return causeway.Errorf(causeway.GenericConflict, "put policy", "the provisioning service %s has a policy %q already: change it with 'causeway dps policy update'", name, args[0])
			case !create && !exists:
				return causeway.Errorf(causeway.GenericNotFound, "put policy", "the provisioning service %s has no policy %q: make it with 'causeway dps policy create'", name, args[0])
			case match == "":
				match = s.ETag // it must still be so
			}
			p, err := a.PutProvisioningPolicy(ctx, name, args[0], rights, match)
			if err != nil {
				return err
			}
			return out.print(p, func(t *table) { provisioningPolicyTable(t, p) })
		})
	}
	return cmd
}

func newCmdDPSPolicyDelete(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete POLICY", Aliases: []string{"rm"}, Short: "Remove a policy; what was signed with its keys is refused", Args: exactArgs("POLICY"),
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			if err := a.DeleteProvisioningPolicy(ctx, name, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted policy %s\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdDPSPolicyRegenerate(st *state.State, l *dpsLogin) *cobra.Command {
	var which string
	cmd := &cobra.Command{
		Use: "regenerate-key POLICY", Short: "Replace a key of a policy", Args: exactArgs("POLICY"),
		Long: "Replaces a key of a policy by a new one, or exchanges the two. Tokens signed with the old key are refused from then on.",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&which, "key", "", "primary, secondary or swap")
	_ = cmd.RegisterFlagCompletionFunc("key", cobra.FixedCompletions([]string{"primary", "secondary", "swap"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if which != "primary" && which != "secondary" && which != "swap" {
			return usagef("pass --key primary, --key secondary or --key swap")
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			p, err := a.RegenerateProvisioningKey(ctx, name, args[0], which)
			if err != nil {
				return err
			}
			return out.print(p, func(t *table) { provisioningPolicyTable(t, p) })
		})
	}
	return cmd
}
