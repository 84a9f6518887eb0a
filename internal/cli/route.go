package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

const routeLong = `Routes say where the messages of a hub go: to the built-in endpoint "events", to
custom endpoints, or to several of them. Telemetry that no route takes goes to
events by the fallback route; other events, such as those of twins, go nowhere
unless a route takes them.`

// sourceWords are what a source may be called on the command line.
var sourceWords = []struct {
	word   string
	source routing.Source
}{
	{"messages", routing.DeviceMessages},
	{"twin", routing.TwinChanges},
	{"lifecycle", routing.DeviceLifecycle},
	{"jobs", routing.DeviceJobLifecycle},
	{"digital-twin", routing.DigitalTwinChanges},
	{"connection", routing.DeviceConnectionStates},
}

// sourceOf returns the source that a word means; the service's own names are
// words too.
func sourceOf(word string) (string, error) {
	var words []string
	for _, s := range sourceWords {
		if strings.EqualFold(word, s.word) || strings.EqualFold(word, string(s.source)) {
			return string(s.source), nil
		}
		words = append(words, s.word)
	}
	return "", usagef("--source %q: choose one of %s", word, strings.Join(words, ", "))
}

func completeSources(cmd *cobra.Command) {
	var words []string
	for _, s := range sourceWords {
		words = append(words, s.word)
	}
	_ = cmd.RegisterFlagCompletionFunc("source", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// NewCmdRoute returns the commands about the routes of a hub.
func NewCmdRoute(st *state.State) *cobra.Command {
	cmd := family("route", "Say where the messages of a hub go, and try it")
	cmd.Long = routeLong
	l := addLogin(cmd, st)
	cmd.AddCommand(
		newCmdRouteList(st, l), newCmdRouteAdd(st, l), newCmdRouteUpdate(st, l), newCmdRouteRemove(st, l), newCmdRouteTest(st, l), newCmdRouteApply(st, l), newCmdRouteExport(st, l),
		newCmdRouteFallback(st, l), newCmdRouteEnrichment(st, l), newCmdRouteEndpoint(st, l),
	)
	return cmd
}

// withRouting runs f with the administration and the name of the hub.
func (l *login) withRouting(ctx context.Context, f func(ctx context.Context, a *client.Admin, hub string) error) error {
	hub, err := l.localHub(ctx, nil)
	if err != nil {
		return err
	}
	return l.withAdmin(ctx, func(ctx context.Context, a *client.Admin) error { return f(ctx, a, hub) })
}

func newCmdRouteList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the routes of a hub", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			r, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			list := r.Routes
			if r.FallbackRoute != nil {
				list = append(list, *r.FallbackRoute)
			}
			return out.print(list, func(t *table) { routeTable(t, list) })
		})
	}
	return cmd
}

func routeTable(t *table, list []client.Route) {
	head := []any{"ROUTE", "SOURCE", "CONDITION", "ENDPOINTS", "ENABLED"}
	broken := slices.ContainsFunc(list, func(r client.Route) bool { return r.Problem != "" })
	if broken {
		head = append(head, "PROBLEM")
	}
	t.row(head...)
	for _, r := range list {
		condition := r.Condition
		if condition == "" {
			condition = "true"
		}
		row := []any{r.Name, r.Source, condition, strings.Join(r.EndpointNames, ", "), yesNo(r.IsEnabled)}
		if broken {
			row = append(row, r.Problem)
		}
		t.row(row...)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// routeFlags are the parts of a route as flags.
type routeFlags struct {
	source, condition string
	endpoints         []string
	disabled          bool
}

func (f *routeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.source, "source", "messages", "what it takes: messages, twin, lifecycle, connection, jobs or digital-twin")
	cmd.Flags().StringVarP(&f.condition, "condition", "c", "", "which of them, e.g. '$body.temperature > 30'; default: all")
	cmd.Flags().StringSliceVarP(&f.endpoints, "endpoint", "e", nil, "`name` of an endpoint, may be repeated; events is the built-in one")
	cmd.Flags().BoolVar(&f.disabled, "disabled", false, "keep it, but let it take nothing")
	completeSources(cmd)
}

// set changes r as far as flags were given.
func (f *routeFlags) set(cmd *cobra.Command, r *client.Route) error {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if given("source") || r.Source == "" {
		s, err := sourceOf(f.source)
		if err != nil {
			return err
		}
		r.Source = s
	}
	if given("condition") {
		r.Condition = f.condition
	}
	if given("endpoint") {
		r.EndpointNames = f.endpoints
	}
	if given("disabled") {
		r.IsEnabled = !f.disabled
	}
	return checkCondition(r.Condition, r.Source)
}

// put stores a route and shows it.
func putRoute(ctx context.Context, a *client.Admin, hub string, r client.Route, out *output) error {
	all, err := a.PutRoute(ctx, hub, r)
	if err != nil {
		return err
	}
	stored := client.Route{}
	if i := slices.IndexFunc(all.Routes, func(x client.Route) bool { return x.Name == r.Name }); i >= 0 {
		stored = all.Routes[i]
	}
	return out.print(stored, func(t *table) { routeTable(t, []client.Route{stored}) })
}

func newCmdRouteAdd(st *state.State, l *login) *cobra.Command {
	var f routeFlags
	cmd := &cobra.Command{
		Use: "add NAME", Aliases: []string{"create"}, Short: "Make a route", Args: exactArgs("NAME"),
		Example: "  causeway route add hot --condition '$body.temperature > 30' --endpoint alarms\n" +
			"  causeway route add twins --source twin --endpoint events",
	}
	f.add(cmd)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := client.Route{Name: args[0], IsEnabled: true}
		if err := f.set(cmd, &r); err != nil {
			return err
		}
		if len(r.EndpointNames) == 0 {
			return usagef("say where its messages go: --endpoint NAME, events for the built-in endpoint")
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			all, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(all.Routes, func(x client.Route) bool { return x.Name == r.Name }) {
				return causeway.Errorf(causeway.GenericConflict, "add route", "hub %s has a route %q already: change it with 'causeway route update'", hub, r.Name)
			}
			return putRoute(ctx, a, hub, r, out)
		})
	}
	return cmd
}

func newCmdRouteUpdate(st *state.State, l *login) *cobra.Command {
	var f routeFlags
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a route; what is not named stays", Args: exactArgs("NAME"), ValidArgsFunction: l.completeRoutes,
		Example: "  causeway route update hot --condition '$body.temperature > 35'\n  causeway route update hot --disabled",
	}
	f.add(cmd)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			all, err := a.Routing(ctx, hub)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all.Routes, func(x client.Route) bool { return x.Name == args[0] })
			if i < 0 {
				return causeway.Errorf(causeway.GenericNotFound, "update route", "hub %s has no route %q", hub, args[0])
			}
			r := all.Routes[i]
			if err := f.set(cmd, &r); err != nil {
				return err
			}
			return putRoute(ctx, a, hub, r, out)
		})
	}
	return cmd
}

func newCmdRouteRemove(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm", "delete"}, Short: "Remove a route", Args: exactArgs("NAME"), ValidArgsFunction: l.completeRoutes,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			if _, err := a.DeleteRoute(ctx, hub, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "removed route %s\n", args[0])
			return nil
		})
	}
	return cmd
}

// completeRoutes offers the names of routes to the shell.
func (l *login) completeRoutes(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var list []string
	if len(args) == 0 {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
		defer cancel()
		_ = l.withRouting(ctx, func(ctx context.Context, a *client.Admin, hub string) error { // a shell has no place for errors
			r, err := a.Routing(ctx, hub)
			for _, x := range r.Routes {
				if strings.HasPrefix(x.Name, prefix) {
					list = append(list, x.Name)
				}
			}
			return err
		})
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
