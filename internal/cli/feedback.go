package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// feedbackLine is a record as it is printed.
type feedbackLine struct {
	MessageID string    `json:"originalMessageId"`
	DeviceID  string    `json:"deviceId"`
	ModuleID  string    `json:"moduleId,omitempty"`
	Status    string    `json:"statusCode"`
	Time      time.Time `json:"enqueuedTimeUtc"`
}

func newCmdC2DFeedback(st *state.State, l *login) *cobra.Command {
	var most int
	var timeout time.Duration
	var ws bool
	format := outTable
	if v, ok := st.Getenv(config.EnvOutput); ok && v == outJSON {
		format = outJSON
	}
	cmd := &cobra.Command{
		Annotations: endlessly(), Use: "feedback", Short: "Watch what becomes of messages that were sent with --ack", Args: noArgs,
		Long: `Receives feedback by AMQP until it is interrupted and prints one line for each
message. What was printed is taken from the hub: other receivers of the same hub do
not get it. A hub puts records together and delivers them after at most 15 seconds.
With --output json it prints one JSON object per line.`,
	}
	f := cmd.Flags()
	f.StringVarP(&format, "output", "o", format, "`format`: table or json")
	f.IntVar(&most, "max", 0, "end after this `number` of records, and those that came with them")
	f.DurationVar(&timeout, "timeout", 0, "end after this time")
	f.BoolVar(&ws, "websocket", false, "AMQP over a WebSocket on the HTTPS port")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outTable, outJSON}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != outTable && format != outJSON {
			return usagef("unknown output format %q: choose table or json", format)
		}
		if most < 0 {
			return usagef("--max %d is less than none", most)
		}
		return l.withMessaging(cmd.Context(), ws, func(ctx context.Context, m *client.Messaging) error {
			asked := ctx
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			n, err := watchFeedback(ctx, st, m, format == outJSON, most)
			if ctx.Err() != nil && asked.Err() == nil {
				if most > 0 {
					return fmt.Errorf("%d of %d records within %v: %w", n, most, timeout, context.DeadlineExceeded)
				}
				return nil // the time that was asked for is over
			}
			return err
		})
	}
	return cmd
}

// watchFeedback prints records until there were so many, and returns how many
// there were.
func watchFeedback(ctx context.Context, st *state.State, m *client.Messaging, asJSON bool, most int) (n int, _ error) {
	r, err := m.Feedback(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if st.StdoutTerminal && !asJSON {
		fmt.Fprintf(st.Stderr, "feedback of %s; Ctrl-C ends\n", m.Host())
	}
	for most == 0 || n < most {
		b, err := r.Receive(ctx)
		if err != nil {
			return n, err
		}
		for _, x := range b.Records {
			line := fmt.Sprintf("%s  %-16s  %-22s  %s", x.Time.Local().Format("15:04:05.000"), printable(x.Device), x.Status, printable(x.MessageID))
			if asJSON {
				text, err := json.Marshal(feedbackLine{x.MessageID, x.Device, x.Module, x.Status, x.Time})
				if err != nil {
					return n, err
				}
				line = string(text)
			}
			if _, err := fmt.Fprintln(st.Stdout, line); err != nil {
				return n, err
			}
			n++
		}
		if err := b.Complete(); err != nil {
			return n, err
		}
	}
	return n, nil
}
