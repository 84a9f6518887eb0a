package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdC2D returns the commands about cloud-to-device messages.
func NewCmdC2D(st *state.State) *cobra.Command {
	cmd := family("c2d", "Send messages to devices, hear what became of them")
	l := addLogin(cmd, st)
	cmd.AddCommand(newCmdC2DSend(st, l), newCmdC2DFeedback(st, l), newCmdC2DPurge(st, l))
	return cmd
}

func newCmdC2DSend(st *state.State, l *login) *cobra.Command {
	var module, body, ack string
	var m causeway.Message
	var props []string
	var ttl time.Duration
	var amqp, ws bool
	cmd := &cobra.Command{
		Use: "send DEVICE", Short: "Queue a message for a device", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Long:    "Queues a message; the device gets it when it is connected and listening.\nA body @FILE is read from a file, @- from standard input.",
		Example: "  causeway c2d send pump-7 --body 'open the valve' --property zone=3 --ack full --message-id v1\n  causeway c2d feedback",
	}
	addModule(cmd, &module)
	f := cmd.Flags()
	f.StringVarP(&body, "body", "b", "", "`text` of the message")
	f.StringArrayVarP(&props, "property", "p", nil, "application property `key=value`, may be repeated")
	f.StringVar(&m.ID, "message-id", "", "`id` of the message, needed to tell its feedback")
	f.StringVar(&m.CorrelationID, "correlation-id", "", "`id` of what it answers")
	f.StringVar(&m.ContentType, "content-type", "", "e.g. application/json")
	f.StringVar(&m.ContentEncoding, "content-encoding", "", "e.g. utf-8")
	f.StringVar(&ack, "ack", "", "feedback wanted: positive, negative or full")
	f.DurationVar(&ttl, "ttl", 0, "how long it may wait; default: the hub's setting")
	f.BoolVar(&amqp, "amqp", false, "send it by AMQP instead of REST")
	f.BoolVar(&ws, "websocket", false, "send it by AMQP over a WebSocket on the HTTPS port")
	_ = cmd.RegisterFlagCompletionFunc("ack", cobra.FixedCompletions([]string{"positive", "negative", "full"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch m.Ack = causeway.Ack(ack); m.Ack {
		case causeway.AckNone, causeway.AckPositive, causeway.AckNegative, causeway.AckFull:
		default:
			return usagef("--ack %q: choose positive, negative or full", ack)
		}
		for _, p := range props {
			k, v, ok := strings.Cut(p, "=")
			if !ok || k == "" {
				return usagef("--property %q is not key=value", p)
			}
			m.Properties = append(m.Properties, causeway.Property{Key: k, Value: v})
		}
		m.Body = []byte(body)
		if name, ok := strings.CutPrefix(body, "@"); ok {
			var err error
			if m.Body, err = st.ReadFile(name); err != nil {
				return fmt.Errorf("--body: %w", err)
			}
		}
		if ttl > 0 {
			m.Expiry = time.Now().Add(ttl)
		}
		queued := func(err error) error {
			if err == nil {
				fmt.Fprintf(st.Stderr, "queued for %s\n", causeway.Identity{Device: args[0], Module: module})
			}
			return err
		}
		if amqp || ws {
			return l.withMessaging(cmd.Context(), ws, func(ctx context.Context, c *client.Messaging) error {
				return queued(c.SendCommand(ctx, args[0], module, &m))
			})
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			return queued(s.SendCommand(ctx, args[0], module, &m))
		})
	}
	return cmd
}

// withMessaging runs f with the AMQP side of the hub that was found.
func (l *login) withMessaging(ctx context.Context, ws bool, f func(context.Context, *client.Messaging) error) error {
	t, err := l.find(ctx)
	if err != nil {
		return err
	}
	m, err := t.messaging(ws)
	if err != nil {
		return err
	}
	defer m.Close()
	return f(ctx, m)
}

func newCmdC2DPurge(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "purge DEVICE", Short: "Drop the messages that wait for a device", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			n, err := s.PurgeCommands(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(map[string]int{"purged": n}, func(t *table) { t.row("purged", n) })
		})
	}
	return cmd
}
