package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

func newCmdRouteExport(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Print all routes, endpoints and enrichments of a hub", Args: noArgs,
		Long: "Prints everything that routing has, as JSON that 'causeway route apply' takes, or as\nYAML. Secrets of endpoints are not in it.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if out.format == outTable {
			out.format = outJSON
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			return out.print(r, func(*table) {})
		})
	}
	return cmd
}

func newCmdRouteApply(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Replace all routes, endpoints and enrichments of a hub", Args: exactArgs("FILE"),
		Long: `Replaces everything that routing has by what stands in a file of JSON or YAML, in
the form that 'causeway route export' prints; "-" is standard input. What the file
leaves out is removed, but for the secrets of endpoints that it names without.`,
		Example: "  causeway route export >routes.json\n  causeway route apply routes.json",
	}
	discard := addDiscard(cmd)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := st.ReadFile(args[0])
		if err != nil {
			return err
		}
		r, err := parseRouting(text)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		for _, x := range r.Routes {
			if err := checkCondition(x.Condition, x.Source); err != nil {
				return fmt.Errorf("%s: route %s: %w", args[0], x.Name, err)
			}
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.PutRouting(ctx, hub, r, *discard)
			if err != nil {
				return err
			}
			list := r.Routes
			if r.FallbackRoute != nil {
				list = append(list, *r.FallbackRoute)
			}
			return out.print(r, func(t *table) { routeTable(t, list) })
		})
	}
	return cmd
}

// parseRouting reads a file of JSON or YAML. Routes are enabled unless they say
// something else.
func parseRouting(text []byte) (client.Routing, error) {
	r := client.Routing{Endpoints: []client.Endpoint{}, Routes: []client.Route{}, Enrichments: []client.Enrichment{}}
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil { // JSON is YAML
		return r, fmt.Errorf("is neither JSON nor YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc == nil {
		return r, nil
	}
	m, ok := doc.(map[string]any)
	if !ok {
		return r, fmt.Errorf("holds no routing: it is an object with endpoints, routes, fallbackRoute and enrichments")
	}
	enable := func(x any) {
		if route, ok := x.(map[string]any); ok {
			if _, said := route["isEnabled"]; !said {
				route["isEnabled"] = true
			}
		}
	}
	if list, ok := m["routes"].([]any); ok {
		for _, x := range list {
			enable(x)
		}
	}
	enable(m["fallbackRoute"])
	b, err := json.Marshal(m)
	if err != nil {
		return r, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if f := r.FallbackRoute; f != nil && f.Name == "" {
		f.Name = routing.FallbackName
	}
	return r, nil
}
