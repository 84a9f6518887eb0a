package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// allocations are the allocation policies of a whole service.
var allocations = []string{"hashed", "geoLatency", "static"}

func addAllocation(cmd *cobra.Command, policy *string) {
	cmd.Flags().StringVar(policy, "allocation-policy", "", "how a hub is chosen for enrollments that do not say: hashed, geoLatency or static")
	_ = cmd.RegisterFlagCompletionFunc("allocation-policy", cobra.FixedCompletions(allocations, cobra.ShellCompDirectiveNoFileComp))
}

// oneOf completes and checks the value of a flag, regardless of case.
func oneOf(flag, value string, choices []string) (string, error) {
	i := slices.IndexFunc(choices, func(c string) bool { return strings.EqualFold(c, value) })
	if i < 0 {
		return "", usagef("--%s %q is none of %s", flag, value, strings.Join(choices, ", "))
	}
	return choices[i], nil
}

func newCmdDPSCreate(st *state.State, l *dpsLogin) *cobra.Command {
	var s client.NewProvisioningService
	cmd := &cobra.Command{
		Use: "create SERVICE", Aliases: []string{"add"}, Short: "Make a provisioning service with an id scope of its own", Args: exactArgs("SERVICE"),
		Long: `Makes a provisioning service. Devices choose it by its id scope, at any host name of
this server; back ends choose it by its host name: give one with --host.`,
		Example: "  causeway dps create factory-dps --host dps.example.com --hub factory",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringSliceVar(&s.Hosts, "host", nil, "host `name` of its service API, may be repeated; default: the name of the service")
	cmd.Flags().StringSliceVar(&s.Hubs, "hub", nil, "`name` of a hub of this cloud to link, may be repeated")
	addAllocation(cmd, &s.AllocationPolicy)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		s.Name = args[0]
		if s.AllocationPolicy != "" {
			if s.AllocationPolicy, err = oneOf("allocation-policy", s.AllocationPolicy, allocations); err != nil {
				return err
			}
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			s, err := a.CreateProvisioningService(ctx, s)
			if err != nil {
				return err
			}
			return out.print(s, func(t *table) { serviceTable(t, s) })
		})
	}
	return cmd
}

func newCmdDPSUpdate(st *state.State, l *dpsLogin) *cobra.Command {
	var c client.ProvisioningChange
	var match string
	cmd := &cobra.Command{
		Use: "update [SERVICE]", Short: "Change the host names or the allocation of a provisioning service",
		Args: maybeService, ValidArgsFunction: l.completeServices,
		Long: `Changes a provisioning service. The host names that are given replace those it has;
the first one is that of its connection strings.`,
		Example: "  causeway dps update --allocation-policy geoLatency",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringSliceVar(&c.Hosts, "host", nil, "host `name` of its service API, may be repeated")
	addAllocation(cmd, &c.AllocationPolicy)
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if len(c.Hosts) == 0 && c.AllocationPolicy == "" {
			return usagef("nothing to change: pass --host or --allocation-policy")
		}
		if c.AllocationPolicy != "" {
			if c.AllocationPolicy, err = oneOf("allocation-policy", c.AllocationPolicy, allocations); err != nil {
				return err
			}
		}
		return l.withOwn(cmd.Context(), args, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ChangeProvisioningService(ctx, name, c, match)
			if err != nil {
				return err
			}
			return out.print(s, func(t *table) { serviceTable(t, s) })
		})
	}
	return cmd
}

func newCmdDPSDelete(st *state.State, l *dpsLogin) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete SERVICE", Aliases: []string{"rm"}, Short: "Remove a provisioning service with its enrollments and registrations",
		Args: exactArgs("SERVICE"), ValidArgsFunction: l.completeServices,
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do it without asking; there is no way back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !yes {
			return usagef("this removes all enrollments and registrations of %s for good, and devices in the field know its id scope: pass --yes if that is what you want", args[0])
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			if err := a.DeleteProvisioningService(ctx, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted provisioning service %s\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdDPSConnectionString(st *state.State, l *dpsLogin) *cobra.Command {
	policy := ownerDPSPolicy
	cmd := &cobra.Command{
		Use: "connection-string [SERVICE]", Short: "Print the connection string of a policy", Args: maybeService, ValidArgsFunction: l.completeServices,
		Example: "  az iot dps enrollment list --login \"$(causeway dps connection-string)\"",
	}
	addPolicyName(cmd, &policy)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), args, func(ctx context.Context, a *client.Admin, name string) error {
			p, err := a.ProvisioningKeys(ctx, name, policy)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(st.Stdout, p.ConnectionString)
			return err
		})
	}
	return cmd
}
