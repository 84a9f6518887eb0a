package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdEndpointKinds returns the command that tells what endpoints there can be.
func newCmdEndpointKinds(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "kinds [KIND]", Short: "List the kinds of endpoints, or the settings of one", Args: cobra.MaximumNArgs(1),
		Long: `Without a kind, lists the kinds of custom endpoints. With one, lists its settings:
those of the type secret are given with --secret, the others in --config. The
settings of the queue before the endpoint are members of "delivery" in --config.`,
		Example: "  causeway route endpoint kinds webhook",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			kinds, queue, err := a.EndpointKinds(ctx)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return out.print(kinds, func(t *table) {
					t.row("KIND", "WHAT IT DOES")
					for _, k := range kinds {
						t.row(k.Name, k.Doc)
					}
				})
			}
			var names []string
			for _, k := range kinds {
				if strings.EqualFold(k.Name, args[0]) {
					return out.print(k, func(t *table) { settingsTable(t, k, queue) })
				}
				names = append(names, k.Name)
			}
			return usagef("there is no kind %q; there are %s", args[0], strings.Join(names, ", "))
		})
	}
	return cmd
}

func settingsTable(t *table, k client.EndpointKind, queue []client.EndpointSetting) {
	t.row("SETTING", "TYPE", "DEFAULT", "WHAT IT IS")
	row := func(prefix string, s client.EndpointSetting) {
		def := s.Default
		if s.Required {
			def = "required"
		}
		what := s.Doc
		if len(s.OneOf) > 0 {
			what += " (" + strings.Join(s.OneOf, ", ") + ")"
		}
		t.row(prefix+s.Name, s.Type, def, what)
	}
	for _, s := range k.Fields {
		row("", s)
	}
	if k.Name == "eventHub" {
		return // it has no queue
	}
	for _, s := range queue {
		row("delivery.", s)
	}
}

func newCmdEndpointHealth(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "health", Short: "Show how the custom endpoints of a hub fare", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			list, err := a.EndpointHealth(ctx, hub)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("ENDPOINT", "HEALTH", "WAITING", "SENT", "DEAD LETTERS", "LAST SUCCESS", "LAST ERROR")
				for _, h := range list {
					t.row(h.Endpoint, h.Status, h.Waiting, h.Sent, h.DeadLettered, h.LastSuccess, h.LastError)
				}
			})
		})
	}
	return cmd
}

// newCmdDeadLetter returns the commands about messages that endpoints did not
// get.
func newCmdDeadLetter(st *state.State, l *login) *cobra.Command {
	cmd := family("dead-letter", "See messages that endpoints did not get, and send them again")
	cmd.AddCommand(newCmdDeadLetterList(st, l), newCmdDeadLetterReplay(st, l), newCmdDeadLetterPurge(st, l))
	return cmd
}

// deadLetterPage is how many dead letters are asked for at once.
const deadLetterPage = 500

func newCmdDeadLetterList(st *state.State, l *login) *cobra.Command {
	var most int
	cmd := &cobra.Command{Use: "list [ENDPOINT]", Aliases: []string{"ls"}, Short: "List dead letters, the oldest first", Args: cobra.MaximumNArgs(1)}
	cmd.Flags().IntVar(&most, "max", 100, "how many; 0 for all")
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		endpoint := ""
		if len(args) > 0 {
			endpoint = args[0]
		}
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			list := []client.DeadLetter{}
			for from, more := int64(0), true; more && (most <= 0 || len(list) < most); {
				want := deadLetterPage
				if most > 0 {
					want = min(want, most-len(list))
				}
				page, next, again, err := a.DeadLetters(ctx, hub, endpoint, from, want)
				if err != nil {
					return err
				}
				list = append(list, page...)
				from, more = next, again
			}
			return out.print(list, func(t *table) {
				t.row("OFFSET", "ENDPOINT", "DIED", "REASON", "DEVICE", "BODY", "DETAIL")
				for _, d := range list {
					t.row(d.Offset, d.Endpoint, d.Died, d.Reason, d.DeviceID, string(d.Body), d.Detail)
				}
			})
		})
	}
	return cmd
}

func newCmdDeadLetterReplay(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay ENDPOINT", Short: "Put the dead letters of an endpoint into its queue again", Args: exactArgs("ENDPOINT"),
		Long: "Puts the dead letters of an endpoint into its queue again, behind what waits there.\nThey are no dead letters any more, unless they die again.",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			n, err := a.ReplayDeadLetters(ctx, hub, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "%d messages are in the queue of %s again\n", n, args[0])
			return nil
		})
	}
	return cmd
}

func newCmdDeadLetterPurge(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "purge ENDPOINT", Short: "Forget the dead letters of an endpoint", Args: exactArgs("ENDPOINT")}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withRouting(cmd.Context(), func(ctx context.Context, a *client.Admin, hub string) error {
			if err := a.DeleteDeadLetters(ctx, hub, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "the dead letters of %s are forgotten\n", args[0])
			return nil
		})
	}
	return cmd
}
