package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdRouteFallback returns the command about the fallback route.
func newCmdRouteFallback(st *state.State, l *login) *cobra.Command {
	cmd := family("fallback", "Let telemetry that no route takes go to events, or nowhere")
	cmd.AddCommand(newCmdFallbackSet(st, l, "enable", "Send telemetry that no route takes to events", true),
		newCmdFallbackSet(st, l, "disable", "Drop telemetry that no route takes", false))
	return cmd
}

func newCmdFallbackSet(st *state.State, l *login, use, short string, enabled bool) *cobra.Command {
	var condition string
	cmd := &cobra.Command{Use: use, Short: short, Args: noArgs}
	if enabled {
		cmd.Flags().StringVarP(&condition, "condition", "c", "", "only what meets it; default: all")
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkCondition(condition, ""); err != nil {
			return err
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.SetFallback(ctx, hub, enabled, condition)
			if err != nil {
				return err
			}
			return out.print(r.FallbackRoute, func(t *table) { routeTable(t, []client.Route{*r.FallbackRoute}) })
		})
	}
	return cmd
}

// newCmdRouteEnrichment returns the commands about enrichments.
func newCmdRouteEnrichment(st *state.State, l *login) *cobra.Command {
	cmd := family("enrichment", "Add properties to messages on their way")
	cmd.AddCommand(newCmdEnrichmentList(st, l), newCmdEnrichmentSet(st, l), newCmdEnrichmentRemove(st, l))
	return cmd
}

func enrichmentTable(t *table, list []client.Enrichment) {
	t.row("KEY", "VALUE", "ENDPOINTS")
	for _, e := range list {
		t.row(e.Key, e.Value, strings.Join(e.EndpointNames, ", "))
	}
}

func newCmdEnrichmentList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the enrichments of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			return out.print(r.Enrichments, func(t *table) { enrichmentTable(t, r.Enrichments) })
		})
	}
	return cmd
}

func newCmdEnrichmentSet(st *state.State, l *login) *cobra.Command {
	var e client.Enrichment
	cmd := &cobra.Command{
		Use: "set KEY", Aliases: []string{"add", "update"}, Short: "Make or change an enrichment", Args: exactArgs("KEY"),
		Long: `Adds an application property to every message that goes to one of the endpoints.
The value is a text, $iothubname, or a path into the twin of the sender:
$twin.tags.X, $twin.properties.desired.X or $twin.properties.reported.X. A path
that leads nowhere is added as it stands.`,
		Example: "  causeway route enrichment set site --value '$twin.tags.site' --endpoint events",
	}
	cmd.Flags().StringVar(&e.Value, "value", "", "`text` of the property")
	cmd.Flags().StringSliceVarP(&e.EndpointNames, "endpoint", "e", nil, "`name` of an endpoint, may be repeated")
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e.Key = args[0]
		if e.Value == "" || len(e.EndpointNames) == 0 {
			return usagef("pass --value TEXT and --endpoint NAME")
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.PutEnrichment(ctx, hub, e)
			if err != nil {
				return err
			}
			return out.print(r.Enrichments, func(t *table) { enrichmentTable(t, r.Enrichments) })
		})
	}
	return cmd
}

func newCmdEnrichmentRemove(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "remove KEY", Aliases: []string{"rm", "delete"}, Short: "Remove an enrichment", Args: exactArgs("KEY")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			if _, err := a.DeleteEnrichment(ctx, hub, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "removed enrichment %s\n", args[0])
			return nil
		})
	}
	return cmd
}

// newCmdRouteEndpoint returns the commands about custom endpoints.
func newCmdRouteEndpoint(st *state.State, l *login) *cobra.Command {
	cmd := family("endpoint", "Say where routes can send messages besides events")
	cmd.AddCommand(newCmdEndpointList(st, l), newCmdEndpointSet(st, l), newCmdEndpointRemove(st, l),
		newCmdEndpointKinds(st, l), newCmdEndpointHealth(st, l), newCmdDeadLetter(st, l))
	return cmd
}

func endpointTable(t *table, list []client.Endpoint) {
	t.row("ENDPOINT", "KIND", "CONFIG")
	for _, e := range list {
		text, _ := json.Marshal(e.Config) //nolint:errchkjson // it came as JSON
		t.row(e.Name, e.Kind, json.RawMessage(text))
	}
}

func newCmdEndpointList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the custom endpoints of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			return out.print(r.Endpoints, func(t *table) { endpointTable(t, r.Endpoints) })
		})
	}
	return cmd
}

func newCmdEndpointSet(st *state.State, l *login) *cobra.Command {
	var e client.Endpoint
	var config string
	var secrets []string
	cmd := &cobra.Command{
		Use: "set NAME", Aliases: []string{"add", "update"}, Short: "Make or change a custom endpoint", Args: exactArgs("NAME"),
		Long: `Makes a custom endpoint, or replaces the one of that name; the secrets of one that
is replaced stay unless others are given. Secrets are sealed and never shown.
@FILE reads the config from a file, and --secret NAME=@FILE a secret. What kinds
there are and what they need says "causeway route endpoint kinds".`,
		Example: `  causeway route endpoint set alarms --kind webhook --config '{"url":"https://example.com/alarm"}'`,
	}
	cmd.Flags().StringVar(&e.Kind, "kind", "", "what it is")
	cmd.Flags().StringVar(&config, "config", "", "what endpoints of the kind need, as `JSON`")
	cmd.Flags().StringArrayVar(&secrets, "secret", nil, "key or connection string `name=value`, may be repeated")
	discard := addDiscard(cmd)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e.Name = args[0]
		if e.Kind == "" {
			return usagef("pass --kind KIND")
		}
		text, err := textOrFile(st, "--config", config)
		if err != nil {
			return err
		}
		if text != "" {
			if err := json.Unmarshal([]byte(text), &e.Config); err != nil {
				return usagef("--config is not a JSON object: %v", err)
			}
		}
		for _, s := range secrets {
			k, v, ok := strings.Cut(s, "=")
			if !ok || k == "" {
				return usagef("--secret is not name=value")
			}
			if v, err = textOrFile(st, "--secret", v); err != nil {
				return err
			}
			if e.Secrets == nil {
				e.Secrets = map[string]string{}
			}
			e.Secrets[k] = strings.TrimSuffix(v, "\n")
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.PutEndpoint(ctx, hub, e, *discard)
			if err != nil {
				return err
			}
			list := slices.DeleteFunc(r.Endpoints, func(x client.Endpoint) bool { return x.Name != e.Name })
			return out.print(list, func(t *table) { endpointTable(t, list) })
		})
	}
	return cmd
}

// addDiscard adds the flag that gives consent to lose messages.
func addDiscard(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("discard", false, "drop the messages that still wait for an endpoint that goes")
}

func newCmdEndpointRemove(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm", "delete"}, Short: "Remove a custom endpoint that no route names", Args: exactArgs("NAME"),
		Long: "Removes a custom endpoint that no route and no enrichment names. While messages\nwait for it this is refused, unless --discard says that they are not wanted.",
	}
	discard := addDiscard(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			if _, err := a.DeleteEndpoint(ctx, hub, args[0], *discard); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "removed endpoint %s\n", args[0])
			return nil
		})
	}
	return cmd
}
