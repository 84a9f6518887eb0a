package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// checkCondition compiles a condition here, so that what is wrong with it can be
// shown where it is.
func checkCondition(text, source string) error {
	if text == "" {
		return nil
	}
	_, err := new(routecond.Set).Compile(text, routecond.Options{TwinChanges: source == string(routing.TwinChanges)})
	es, ok := errors.AsType[routecond.Errors](err)
	if !ok {
		return err
	}
	var list []client.RouteError
	for _, e := range es {
		r := client.RouteError{Message: e.Message, Severity: "error"}
		r.Location.Start, r.Location.End = client.RoutePosition(e.Location.Start), client.RoutePosition(e.Location.End)
		list = append(list, r)
	}
	return conditionError(text, list)
}

// conditionError says what is wrong with a condition, each error below its place.
func conditionError(text string, list []client.RouteError) error {
	var b strings.Builder
	b.WriteString("the condition is wrong")
	lines := strings.Split(text, "\n")
	for _, e := range list {
		start, end := e.Location.Start, e.Location.End
		if start.Line < 1 || start.Line > len(lines) {
			fmt.Fprintf(&b, "\n  %s", e.Message)
			continue
		}
		line := strings.TrimSuffix(lines[start.Line-1], "\r")
		b.WriteString("\n  " + line + "\n  ")
		for i, r := range []rune(line) {
			if i >= start.Column-1 {
				break
			}
			if r != '\t' {
				r = ' '
			}
			b.WriteRune(r)
		}
		width := 1
		if end.Line == start.Line && end.Column > start.Column {
			width = end.Column - start.Column
		}
		b.WriteString(strings.Repeat("^", width) + " " + e.Message)
	}
	return errors.New(b.String())
}

// trialFlags are a message as flags.
type trialFlags struct {
	body, contentType, contentEncoding, twin string
	device, module                           string
	properties, system                       []string
}

func (f *trialFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.body, "body", "b", "", "`text` of the message; @FILE reads a file, @- standard input")
	cmd.Flags().StringVar(&f.contentType, "content-type", "application/json", "of the body; conditions read no other")
	cmd.Flags().StringVar(&f.contentEncoding, "content-encoding", "utf-8", "of the body; conditions read no other than utf-8, utf-16 and utf-32")
	cmd.Flags().StringArrayVarP(&f.properties, "property", "p", nil, "application property `key=value`, may be repeated")
	cmd.Flags().StringArrayVar(&f.system, "system", nil, "system property `name=value`, e.g. connectionDeviceId=d1, may be repeated")
	cmd.Flags().StringVarP(&f.device, "device", "d", "", "`id` of the device that sends it: its twin counts")
	addModule(cmd, &f.module)
	cmd.Flags().StringVar(&f.twin, "twin", "", "twin of the sender as `JSON`: {\"tags\":…,\"properties\":{\"desired\":…,\"reported\":…}}; @FILE reads a file")
}

func (f *trialFlags) trial(st *state.State) (client.RouteTrial, error) {
	t := client.RouteTrial{Message: client.RouteTrialMessage{
		AppProperties:    map[string]string{},
		SystemProperties: map[string]string{"contentType": f.contentType, "contentEncoding": f.contentEncoding},
	}}
	var err error
	if t.Message.Body, err = textOrFile(st, "--body", f.body); err != nil {
		return t, err
	}
	for _, p := range f.properties {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return t, usagef("--property %q is not key=value", p)
		}
		t.Message.AppProperties[k] = v
	}
	for _, p := range f.system {
		k, v, ok := strings.Cut(p, "=")
		if k = strings.TrimPrefix(k, "$"); !ok || k == "" { // as conditions write it
			return t, usagef("--system %q is not name=value", p)
		}
		t.Message.SystemProperties[k] = v
	}
	if f.module != "" && f.device == "" {
		return t, usagef("--module needs the --device that it is of")
	}
	if f.twin != "" {
		text, err := textOrFile(st, "--twin", f.twin)
		if err != nil {
			return t, err
		}
		t.Twin = &client.RouteTrialTwin{}
		if err := json.Unmarshal([]byte(text), t.Twin); err != nil {
			return t, usagef("--twin is not the JSON of a twin: %v", err)
		}
	}
	return t, nil
}

// from makes the message one of the device that the flags name: its ids, and its
// twin unless another was given.
func (f *trialFlags) from(ctx context.Context, l *login, t *client.RouteTrial) error {
	if f.device == "" {
		return nil
	}
	t.Message.SystemProperties["connectionDeviceId"] = f.device
	if f.module != "" {
		t.Message.SystemProperties["connectionModuleId"] = f.module
	}
	if t.Twin != nil {
		return nil
	}
	return l.with(ctx, func(ctx context.Context, s *client.Service) error {
		twin, err := s.Twin(ctx, f.device, f.module)
		if err != nil {
			return err
		}
		t.Twin = &client.RouteTrialTwin{}
		return json.Unmarshal(twin.Raw, t.Twin)
	})
}

// textOrFile returns a text, or what is in the file it names after an @.
func textOrFile(st *state.State, flag, text string) (string, error) {
	name, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	b, err := st.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return string(b), nil
}

func newCmdRouteTest(st *state.State, l *login) *cobra.Command {
	var trial trialFlags
	var condition, source string
	cmd := &cobra.Command{
		Use: "test [NAME]", Short: "Try a route, a condition, or all routes on a message",
		Long: `Tries routes on a message that is not sent: the route NAME, the condition of
--condition, or with neither all routes of a source; then it lists those that
take the message. A route takes a message only when its condition is true;
undefined means that it reads something the message does not have.`,
		Example: "  causeway route test hot --body '{\"temperature\":31}'\n" +
			"  causeway route test --condition '$twin.tags.floor = 3' --twin '{\"tags\":{\"floor\":3}}'\n" +
			"  causeway route test --device pump-1 --body @message.json --property level=high",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactArgs("NAME")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: l.completeRoutes,
	}
	trial.add(cmd)
	cmd.Flags().StringVarP(&condition, "condition", "c", "", "condition to try")
	cmd.Flags().StringVar(&source, "source", "messages", "what the message is: messages, twin, lifecycle, connection, jobs or digital-twin")
	completeSources(cmd)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := sourceOf(source)
		if err != nil {
			return err
		}
		t, err := trial.trial(st)
		if err != nil {
			return err
		}
		single := cmd.Flags().Changed("condition")
		if single && len(args) > 0 {
			return usagef("give the name of a route or --condition, not both")
		}
		if err := trial.from(cmd.Context(), l, &t); err != nil {
			return err
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			if !single && len(args) == 0 {
				return testAll(ctx, a, hub, from, t, out)
			}
			r := client.Route{Source: from, Condition: condition, IsEnabled: true}
			if len(args) > 0 {
				if r, err = findRoute(ctx, a, hub, args[0]); err != nil {
					return err
				}
			}
			return testOne(ctx, a, hub, r, t, out)
		})
	}
	return cmd
}

func findRoute(ctx context.Context, a *client.Admin, hub, name string) (client.Route, error) {
	all, err := a.Routing(ctx, hub)
	if err != nil {
		return client.Route{}, err
	}
	if name == routing.FallbackName && all.FallbackRoute != nil {
		return *all.FallbackRoute, nil
	}
	i := slices.IndexFunc(all.Routes, func(x client.Route) bool { return x.Name == name })
	if i < 0 {
		return client.Route{}, causeway.Errorf(causeway.GenericNotFound, "test route", "hub %s has no route %q", hub, name)
	}
	return all.Routes[i], nil
}

func testAll(ctx context.Context, a *client.Admin, hub, source string, t client.RouteTrial, out *output) error {
	list, err := a.TestRoutes(ctx, hub, source, t)
	if err != nil {
		return err
	}
	if list == nil {
		list = []client.Route{}
	}
	return out.print(list, func(t *table) { routeTable(t, list) })
}

func testOne(ctx context.Context, a *client.Admin, hub string, r client.Route, t client.RouteTrial, out *output) error {
	result, err := a.TestRoute(ctx, hub, r, t)
	if err != nil {
		return err
	}
	err = out.print(result, func(t *table) { t.row("result", result.Result) })
	if len(result.Details.CompilationErrors) > 0 {
		return conditionError(r.Condition, result.Details.CompilationErrors)
	}
	return err
}
