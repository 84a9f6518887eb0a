package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func newCmdHubEventsConnectionString(st *state.State, l *login) *cobra.Command {
	policy := "service"
	cmd := &cobra.Command{
		Use: "events-connection-string [HUB]", Short: "Print what Event Hubs clients are configured with", Args: maybeHub, ValidArgsFunction: l.completeHubs,
		Long: `Prints the connection string of the Event Hubs-compatible endpoint of a hub: what
clients of Azure Event Hubs read its events with.`,
	}
	cmd.Flags().StringVar(&policy, "policy", policy, "`name` of the policy")
	_ = cmd.RegisterFlagCompletionFunc("policy", cobra.FixedCompletions([]string{"iothubowner", "service"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), args)
		if err != nil {
			return err
		}
		local, _, err := l.readLocal()
		if err != nil {
			return err
		}
		if local == nil || local.AMQPPort == 0 {
			return errors.New("the cloud does not serve AMQP: start it with --amqp ADDRESS")
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			cs, err := eventsConnectionString(ctx, a, name, policy, local.AMQPPort)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(st.Stdout, cs)
			return err
		})
	}
	return cmd
}

// eventsConnectionString returns the connection string of the events of a hub.
func eventsConnectionString(ctx context.Context, a *client.Admin, hub, policy string, port int) (string, error) {
	if _, err := a.ConnectionString(ctx, hub, policy); err != nil {
		return "", err // there is no such policy, and which there are
	}
	h, err := a.Hub(ctx, hub)
	if err != nil {
		return "", err
	}
	list, err := a.Policies(ctx, hub)
	if err != nil {
		return "", err
	}
	d := directory.Hub{Name: h.Name, Hosts: h.Hosts}
	for _, p := range list {
		d.Policies = append(d.Policies, auth.Policy{Name: p.Name, Primary: causeway.Secret(p.PrimaryKey)})
	}
	cs, ok := d.EventsConnectionString(policy, port)
	if !ok {
		return "", fmt.Errorf("hub %s has no policy %q, or no host", hub, policy)
	}
	return cs, nil
}
