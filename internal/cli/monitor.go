package cli

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdMonitor returns the command that shows what devices send.
func NewCmdMonitor(st *state.State) *cobra.Command {
	var q client.EventsQuery
	var r eventsRoute
	var timeout time.Duration
	var props bool
	format := outTable
	if v, ok := st.Getenv(config.EnvOutput); ok && v == outJSON {
		format = outJSON
	}
	cmd := &cobra.Command{
		Annotations: endlessly(), Use: "monitor", Short: "Watch what devices send, as it arrives", Args: noArgs,
		Long: `Shows the events of a hub as they arrive until it is interrupted. With --output json it prints one
JSON object per line.

Events come from the administration of a Causeway cloud. With --amqp, --consumer-group or
--websocket, or when --login is the connection string of an Event Hubs-compatible endpoint, they
are read from that endpoint by AMQP, as back ends do; any IoT hub has one.`,
		Example: "  causeway monitor\n  causeway monitor --device pump-7 --from earliest --max 10 -o json\n  causeway monitor --amqp --consumer-group analytics",
	}
	l := addLogin(cmd, st)
	f := cmd.Flags()
	f.StringVarP(&format, "output", "o", format, "`format`: table or json")
	f.StringVarP(&q.Device, "device", "d", "", "only events of this `device`")
	f.StringVarP(&q.Module, "module", "m", "", "only events of modules of this `name`")
	f.StringVar(&q.From, "from", "", "where to begin: latest, earliest, a `time` such as 2024-01-31T12:00:00Z, or offsets such as 0:17,1:4")
	f.IntVar(&q.Max, "max", 0, "end after this `number` of events")
	f.DurationVar(&timeout, "timeout", 0, "end after this time")
	f.BoolVar(&r.amqp, "amqp", false, "read by AMQP, from the Event Hubs-compatible endpoint")
	f.StringVar(&r.group, "consumer-group", "", "read by AMQP in this `group`; default: $Default")
	f.BoolVar(&r.ws, "websocket", false, "read by AMQP over a WebSocket on the HTTPS port")
	f.BoolVar(&props, "properties", false, "show application properties in the table")
	_ = cmd.RegisterFlagCompletionFunc("device", l.completeDevices)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outTable, outJSON}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != outTable && format != outJSON {
			return usagef("unknown output format %q: choose table or json", format)
		}
		if q.Max < 0 {
			return usagef("--max %d is less than none", q.Max)
		}
		t, err := l.find(cmd.Context())
		if err != nil {
			return err
		}
		asked := cmd.Context()
		ctx := asked
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		show := func(e client.Event) error { return showEvent(st, e, props) }
		if format == outJSON {
			show = func(e client.Event) error {
				_, err := fmt.Fprintf(st.Stdout, "%s\n", e.Raw)
				return err
			}
		}
		err = t.watch(ctx, st, r, q, show)
		if ctx.Err() != nil && asked.Err() == nil {
			if q.Max > 0 {
				return fmt.Errorf("fewer than %d events within %v: %w", q.Max, timeout, context.DeadlineExceeded)
			}
			return nil // the time that was asked for is over
		}
		return err
	}
	return cmd
}

// watch shows the events of the hub, by the route that was asked for.
func (t *target) watch(ctx context.Context, st *state.State, r eventsRoute, q client.EventsQuery, show func(client.Event) error) error {
	begin := func(host string) {
		if st.StdoutTerminal {
			fmt.Fprintf(st.Stderr, "events of %s; Ctrl-C ends\n", host)
		}
	}
	if r.wanted(t.connectionString) {
		return t.readEvents(ctx, r, q, begin, show)
	}
	s, err := t.service()
	if err != nil {
		return err
	}
	defer s.Close()
	begin(s.Host())
	return s.Events(ctx, q, show)
}

// showEvent prints an event as one line for people.
func showEvent(st *state.State, e client.Event, props bool) error {
	id := causeway.Identity{Device: e.DeviceID, Module: e.ModuleID}
	line := fmt.Sprintf("%s  %-16s  %s", e.Time().Local().Format("15:04:05.000"), id, printable(e.Text()))
	if props && len(e.Properties) > 0 {
		var list []string
		for k, v := range e.Properties {
			list = append(list, k+"="+v)
		}
		sort.Strings(list)
		line += "  {" + printable(strings.Join(list, ", ")) + "}"
	}
	_, err := fmt.Fprintln(st.Stdout, line)
	return err
}

// printable keeps what devices send from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}
