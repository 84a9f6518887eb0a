package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// newCmdDPSHub returns the commands about the hubs that devices are assigned to.
func newCmdDPSHub(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("hub", "Link hubs that devices may be assigned to")
	cmd.Aliases = []string{"linked-hub"}
	cmd.Long = `A provisioning service assigns devices to the hubs that are linked to it: hubs of
this cloud, by their names, and hubs elsewhere, by the connection string of a
policy that may write their registry.`
	cmd.AddCommand(newCmdDPSHubList(st, l), newCmdDPSHubPut(st, l, true), newCmdDPSHubPut(st, l, false), newCmdDPSHubRemove(st, l))
	return cmd
}

func linkHeader(t *table) { t.row("HUB", "WHERE", "WEIGHT", "REGION", "EXCLUDED", "HEALTH") }

func linkRow(t *table, h client.LinkedHub) {
	where := "elsewhere"
	if h.Hub != "" {
		where = "here, " + h.Hub
	}
	excluded := ""
	if h.Excluded {
		excluded = "yes"
	}
	health := h.Health
	if h.LastError != "" {
		health += ": " + h.LastError
	}
	t.row(h.Host, where, h.Weight, h.Region, excluded, health)
}

func newCmdDPSHubList(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the linked hubs", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ProvisioningService(ctx, name)
			if err != nil {
				return err
			}
			return out.print(s.Hubs, func(t *table) {
				linkHeader(t)
				for _, h := range s.Hubs {
					linkRow(t, h)
				}
			})
		})
	}
	return cmd
}

// newCmdDPSHubPut returns the command that links a hub, or the one that changes how
// it is linked.
func newCmdDPSHubPut(st *state.State, l *dpsLogin, add bool) *cobra.Command {
	var weight int
	var region, connection, match string
	var excluded bool
	cmd := &cobra.Command{
		Use: "add [HUB]", Aliases: []string{"create"}, Short: "Link a hub of this cloud, or one that is elsewhere", Args: maybeHub,
		Example: `  causeway dps hub add factory --weight 10
  causeway dps hub add --connection-string "HostName=hub.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey=…"`,
	}
	if !add {
		cmd.Use, cmd.Aliases, cmd.Args, cmd.Short = "update HUB", nil, exactArgs("HUB"), "Change how a hub is linked"
		cmd.Example = "  causeway dps hub update factory --excluded"
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.IntVar(&weight, "weight", 1, "its share of devices in hashed allocations, 1 to 1000")
	f.StringVar(&region, "region", "", "`name` of where it is, for the allocation by latency")
	f.BoolVar(&excluded, "excluded", false, "leave it out of allocations of enrollments that do not name it")
	f.StringVar(&connection, "connection-string", "", "how to reach a hub that is not of this cloud")
	if !add {
		addMatch(cmd, &match)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		link := client.HubLink{ConnectionString: connection}
		for flag, set := range map[string]func(){
			"weight": func() { link.Weight = &weight }, "region": func() { link.Region = &region }, "excluded": func() { link.Excluded = &excluded },
		} {
			if cmd.Flags().Changed(flag) {
				set()
			}
		}
		if !add && link == (client.HubLink{}) {
			return usagef("nothing to change: pass --weight, --region, --excluded or --connection-string")
		}
		hub, err := hubToLink(args, connection)
		if err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ProvisioningService(ctx, name)
			if err != nil {
				return err
			}
			linked := false
			for _, h := range s.Hubs {
				linked = linked || strings.EqualFold(h.Host, hub) || strings.EqualFold(h.Hub, hub)
			}
			switch {
			case add && linked:
				return causeway.Errorf(causeway.GenericConflict, "link hub", "the hub %s is linked already: change it with 'causeway dps hub update'", hub)
			case !add && !linked:
				return causeway.Errorf(causeway.GenericNotFound, "link hub", "the hub %s is not linked: link it with 'causeway dps hub add'", hub)
			case match == "":
				match = s.ETag // it must still be so
			}
			h, err := a.LinkHub(ctx, name, hub, link, match)
			if err != nil {
				return err
			}
			return out.print(h, func(t *table) {
				linkHeader(t)
				linkRow(t, h)
			})
		})
	}
	return cmd
}

// hubToLink returns the hub that is meant: the argument, or that of the connection
// string.
func hubToLink(args []string, connection string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if connection == "" {
		return "", usagef("HUB is missing: name a hub of this cloud, or pass --connection-string")
	}
	cs, err := sas.ParseConnectionString(connection)
	if err != nil {
		return "", usagef("--connection-string: %v", err)
	}
	return sas.Host(cs.HostName), nil
}

func newCmdDPSHubRemove(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "remove HUB", Aliases: []string{"rm", "delete"}, Short: "Unlink a hub; its devices stay until they register again", Args: exactArgs("HUB"),
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			if err := a.UnlinkHub(ctx, name, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "unlinked hub %s\n", args[0])
			return nil
		})
	}
	return cmd
}
