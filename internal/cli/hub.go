package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdHub returns the commands about the hubs of a cloud.
func NewCmdHub(st *state.State) *cobra.Command {
	cmd := family("hub", "Create and list the hubs of a cloud, show their policies")
	l := addLogin(cmd, st)
	cmd.AddCommand(
		newCmdHubCreate(st, l), newCmdHubList(st, l), newCmdHubShow(st, l), newCmdHubDelete(st, l),
		newCmdHubPolicies(st, l), newCmdHubConnectionString(st, l), newCmdHubEventsConnectionString(st, l), newCmdHubRegenerate(st, l),
		newCmdHubAuthority(st, l), newCmdHubGroup(st, l), newCmdHubQuota(st, l), newCmdHubSettings(st, l),
	)
	return cmd
}

// withAdmin runs f with the administration of the cloud that was found.
func (l *login) withAdmin(ctx context.Context, f func(context.Context, *client.Admin) error) error {
	a, err := l.findAdmin()
	if err != nil {
		return err
	}
	defer a.Close()
	return f(ctx, a)
}

// localHub returns the name of the hub that a command means when it names none:
// the one the cloud was started with, or the only one that it has. The cloud is
// asked, for hubs come and go while it runs.
func (l *login) localHub(ctx context.Context, args []string) (name string, err error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if l.hub != "" {
		return l.hub, nil
	}
	err = l.withAdmin(ctx, func(ctx context.Context, a *client.Admin) error {
		local, _, err := l.readLocal()
		if err != nil {
			return err
		}
		name, err = ownHub(ctx, a, local)
		return err
	})
	return name, err
}

// ownHub chooses among the hubs of a cloud on this machine.
func ownHub(ctx context.Context, a *client.Admin, local *cloud.Connection) (string, error) {
	list, err := a.Hubs(ctx)
	if err != nil {
		return "", err
	}
	names := make([]string, len(list))
	for i, h := range list {
		if local != nil && slices.Contains(h.Hosts, local.Hub) {
			return h.Name, nil
		}
		names[i] = h.Name
	}
	switch len(names) {
	case 0:
		return "", errors.New("the cloud has no hub yet: make one with 'causeway hub create NAME'")
	case 1:
		return names[0], nil
	}
	return "", usagef("the cloud has several hubs, say which with --hub: %s", strings.Join(names, ", "))
}

func maybeHub(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{err: fmt.Errorf("unexpected argument %q", args[1]), cmd: cmd.CommandPath()}
	}
	return nil
}

func hubTable(t *table, h client.Hub) {
	t.row("hub", h.Name)
	t.row("hosts", strings.Join(h.Hosts, ", "))
	t.row("partitions", h.Partitions)
	t.row("created", h.Created.Time)
	if h.Devices != nil {
		t.row("devices", h.Devices.Total)
	}
}

func newCmdHubCreate(st *state.State, l *login) *cobra.Command {
	var hosts []string
	var partitions int
	cmd := &cobra.Command{
		Use: "create HUB", Aliases: []string{"add"}, Short: "Make a hub with the default policies", Args: exactArgs("HUB"),
		Long: `Makes a hub. Clients choose it by its host name, so every hub needs a name of its
own that leads to this machine: give one with --host. The local authority adds it
to the server's certificate; a certificate of your own must have it already.`,
		Example: "  causeway hub create factory --host factory.example.com",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "host `name` it answers to, may be repeated; default: the name of the hub")
	cmd.Flags().IntVar(&partitions, "partitions", 0, "`number` of partitions of its event log, fixed for good; 0 is 4")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		h := client.Hub{Name: args[0], Hosts: hosts, Partitions: partitions}
		if len(h.Hosts) == 0 {
			h.Hosts = []string{h.Name}
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			h, err := a.CreateHub(ctx, h)
			if err != nil {
				return err
			}
			return out.print(h, func(t *table) { hubTable(t, h) })
		})
	}
	return cmd
}

func newCmdHubList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the hubs", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.Hubs(ctx)
			if err != nil {
				return err
			}
			if list == nil {
				list = []client.Hub{}
			}
			return out.print(list, func(t *table) {
				t.row("HUB", "HOSTS", "PARTITIONS", "CREATED")
				for _, h := range list {
					t.row(h.Name, strings.Join(h.Hosts, ", "), h.Partitions, h.Created.Time)
				}
			})
		})
	}
	return cmd
}

func newCmdHubShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [HUB]", Aliases: []string{"get"}, Short: "Show a hub", Args: maybeHub, ValidArgsFunction: l.completeHubs,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), args)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			h, err := a.Hub(ctx, name)
			if err != nil {
				return err
			}
			return out.print(h, func(t *table) { hubTable(t, h) })
		})
	}
	return cmd
}

func newCmdHubDelete(st *state.State, l *login) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete HUB", Aliases: []string{"rm"}, Short: "Remove a hub with all devices, twins and telemetry",
		Args: exactArgs("HUB"), ValidArgsFunction: l.completeHubs,
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do it without asking; there is no way back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !yes {
			return usagef("this removes all devices, twins and telemetry of %s for good: pass --yes if that is what you want", args[0])
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			if err := a.DeleteHub(ctx, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted hub %s\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdHubPolicies(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policies [HUB]", Short: "Show the shared access policies of a hub", Args: maybeHub, ValidArgsFunction: l.completeHubs,
		Long: "Shows the policies of a hub and what they allow. Keys are left out of the table; --output json has them.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), args)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.Policies(ctx, name)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("POLICY", "RIGHTS")
				for _, p := range list {
					t.row(p.Name, strings.Join(p.Rights, ", "))
				}
			})
		})
	}
	return cmd
}

func newCmdHubConnectionString(st *state.State, l *login) *cobra.Command {
	policy := ownerPolicy
	cmd := &cobra.Command{
		Use: "connection-string [HUB]", Short: "Print the connection string of a policy", Args: maybeHub, ValidArgsFunction: l.completeHubs,
	}
	cmd.Flags().StringVar(&policy, "policy", policy, "`name` of the policy")
	_ = cmd.RegisterFlagCompletionFunc("policy", cobra.FixedCompletions(
		[]string{"iothubowner", "service", "device", "registryRead", "registryReadWrite"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), args)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			cs, err := a.ConnectionString(ctx, name, policy)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(st.Stdout, cs)
			return err
		})
	}
	return cmd
}

func newCmdHubRegenerate(st *state.State, l *login) *cobra.Command {
	var policy, which string
	cmd := &cobra.Command{
		Use: "regenerate-key [HUB]", Short: "Replace a key of a policy", Args: maybeHub, ValidArgsFunction: l.completeHubs,
		Long: "Replaces a key of a policy by a new one. Tokens signed with the old key are refused from then on.",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&policy, "policy", "", "`name` of the policy")
	cmd.Flags().StringVar(&which, "key", "", "primary or secondary")
	_ = cmd.RegisterFlagCompletionFunc("key", cobra.FixedCompletions([]string{"primary", "secondary"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if policy == "" || (which != "primary" && which != "secondary") {
			return usagef("pass --policy NAME and --key primary or --key secondary")
		}
		name, err := l.localHub(cmd.Context(), args)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			p, err := a.RegenerateKey(ctx, name, policy, which)
			if err != nil {
				return err
			}
			return out.print(p, func(t *table) {
				t.row("policy", p.Name)
				t.row("connection string", p.ConnectionString)
			})
		})
	}
	return cmd
}

// completeHubs offers the names of hubs to the shell.
func (l *login) completeHubs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	a, err := l.findAdmin()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for errors
	}
	defer a.Close()
	list, err := a.Hubs(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, h := range list {
		if strings.HasPrefix(h.Name, prefix) {
			names = append(names, h.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
