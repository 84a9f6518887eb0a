package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdHubGroup returns the commands about the consumer groups of a hub.
func newCmdHubGroup(st *state.State, l *login) *cobra.Command {
	cmd := family("consumer-group", "Create and list the groups in which the events of a hub are read")
	cmd.Long = `Back ends read the events of a hub in consumer groups: readers of one group do not
disturb those of another. Every hub has the group $Default, and at most 20.`
	cmd.AddCommand(newCmdGroupCreate(st, l), newCmdGroupList(st, l), newCmdGroupDelete(st, l))
	return cmd
}

func newCmdGroupCreate(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Make a consumer group", Args: exactArgs("NAME"),
		Example: "  causeway hub consumer-group create analytics",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			g, err := a.CreateConsumerGroup(ctx, name, args[0])
			if err != nil {
				return err
			}
			return out.print(g, func(t *table) {
				t.row("consumer group", g.Name)
				t.row("created", g.Created.Time)
			})
		})
	}
	return cmd
}

func newCmdGroupList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the consumer groups of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.ConsumerGroups(ctx, name)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("CONSUMER GROUP", "CREATED")
				for _, g := range list {
					t.row(g.Name, g.Created.Time)
				}
			})
		})
	}
	return cmd
}

func newCmdGroupDelete(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Aliases: []string{"rm"}, Short: "Remove a consumer group", Args: exactArgs("NAME")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			if err := a.DeleteConsumerGroup(ctx, name, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted consumer group %s\n", args[0])
			return nil
		})
	}
	return cmd
}
