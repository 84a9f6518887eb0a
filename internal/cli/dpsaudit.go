package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// followEvery is how often a record that is followed is looked at.
const followEvery = time.Second

// newCmdDPSAudit returns the command that shows what was decided about devices.
func newCmdDPSAudit(st *state.State, l *dpsLogin) *cobra.Command {
	var q client.DecisionQuery
	var since string
	var follow bool
	cmd := &cobra.Command{
		Use: "audit", Short: "Show which devices came, where they went, and why", Args: noArgs,
		Long: `Shows what a provisioning service decided, the latest last: which devices came, by
which enrollment, on which hub they are and how it was chosen. Refused devices are on
record too, though not each of very many.`,
		Example: `  causeway dps audit --registration press-7
  causeway dps audit --since 1h --follow`,
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.StringVar(&q.Registration, "registration", "", "only of this registration `id`")
	f.StringVar(&since, "since", "", "only from this `time` on: 90m, 24h, or 2026-11-28T08:00:00Z")
	f.IntVar(&q.Limit, "limit", 50, "`number` of decisions to show, up to 1000")
	f.BoolVarP(&follow, "follow", "f", false, "go on with those that come, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.Limit < 1 || q.Limit > 1000 {
			return usagef("--limit %d is not within 1 and 1000", q.Limit)
		}
		var err error
		if q.Since, err = ago(since, time.Now()); err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			list, err := a.ProvisioningDecisions(ctx, name, q)
			if err != nil {
				return err
			}
			slices.Reverse(list)
			if !follow {
				return out.print(list, func(t *table) {
					t.row("TIME", "REGISTRATION", "OUTCOME", "HUB", "ENROLLMENT", "FROM", "WHY")
					for k := range list {
						t.row(decisionCells(&list[k])...)
					}
				})
			}
			return followDecisions(ctx, st, out, a, name, q, list)
		})
	}
	return cmd
}

// ago reads a time: a duration before now, or a date. "" is the zero time.
func ago(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef("--since %q is neither a duration such as 90m nor a time such as 2026-11-28T08:00:00Z", text)
	}
	return t, nil
}

func decisionCells(d *client.ProvisioningDecision) []any {
	outcome := d.Outcome
	if d.Skipped > 0 {
		outcome += fmt.Sprintf(" (%d more before)", d.Skipped)
	}
	why := d.Reason
	if d.Message != "" {
		why = d.Message
	}
	from := d.Remote
	if d.Transport != "" {
		from = d.Transport + " " + from
	}
	return []any{d.At, d.Registration, outcome, d.Hub, d.Enrollment, strings.TrimSpace(from), why}
}

// followDecisions prints decisions as they come, a line each.
func followDecisions(ctx context.Context, st *state.State, out *output, a *client.Admin, name string, q client.DecisionQuery, list []client.ProvisioningDecision) error {
	q.Ascending, q.Limit = true, 1000
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		for k := range list {
			if err := printDecision(st, out, &list[k]); err != nil {
				return err
			}
			q.After = list[k].Seq
		}
		if len(list) < q.Limit {
			select {
			case <-ctx.Done():
				return nil // that is how it is ended
			case <-tick.C:
			}
		}
		var err error
		if list, err = a.ProvisioningDecisions(ctx, name, q); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func printDecision(st *state.State, out *output, d *client.ProvisioningDecision) error {
	if out.format != outTable {
		b, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("print decision: %w", err)
		}
		_, err = fmt.Fprintf(st.Stdout, "%s\n", b)
		return err
	}
	texts := make([]string, 0, 7)
	for _, c := range decisionCells(d) {
		texts = append(texts, printable(cell(c)))
	}
	_, err := fmt.Fprintln(st.Stdout, strings.Join(texts, "  "))
	return err
}
