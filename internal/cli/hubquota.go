package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdHubQuota returns the commands about what a hub is held to.
func newCmdHubQuota(st *state.State, l *login) *cobra.Command {
	cmd := family("quota", "Hold a hub to the limits of an edition, or show how much of them is used")
	cmd.Long = `A hub takes what comes unless it is held to a quota: rates of the kinds of operations,
and a number of messages for each day (UTC). What comes too often is delayed for up to
5 s, then refused: HTTP 429 with Retry-After, AMQP com.microsoft:device-container-throttled,
MQTT a closed connection.`
	cmd.AddCommand(newCmdQuotaShow(st, l), newCmdQuotaSet(st, l), newCmdQuotaClear(st, l))
	return cmd
}

func newCmdQuotaShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Aliases: []string{"get"}, Short: "Show what a hub is held to, and what is used of it", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			q, err := a.Quota(ctx, name)
			if err != nil {
				return err
			}
			return out.print(q, func(t *table) { quotaTable(t, name, q) })
		})
	}
	return cmd
}

func quotaTable(t *table, hub string, q client.Quota) {
	if !q.Enabled {
		t.row("quota of "+hub, "none: the hub takes what comes")
		return
	}
	what := q.Settings.Preset
	if what == "" {
		what = "of its own"
	}
	t.row("quota of "+hub, fmt.Sprintf("%s, %d units", what, max(q.Settings.Units, 1)))
	if q.Messages.Limit > 0 {
		t.row("messages today", fmt.Sprintf("%d of %d, each of up to %d bytes", q.Messages.Used, q.Messages.Limit, q.Messages.Bytes))
	}
	for _, name := range slices.Sorted(maps.Keys(q.Rates)) {
		t.row(name, rateText(q.Rates[name]))
	}
	for _, name := range q.NotAvailable {
		t.row(name, "not available")
	}
}

func rateText(r client.Rate) string {
	n := strconv.FormatFloat(r.Count, 'g', -1, 64)
	switch r.Seconds {
	case 1:
		return n + "/s"
	case 60:
		return n + "/min"
	}
	return n + " per " + time.Duration(r.Seconds*float64(time.Second)).String()
}

func newCmdQuotaSet(st *state.State, l *login) *cobra.Command {
	var units int
	var daily int64
	var rates []string
	cmd := &cobra.Command{
		Use: "set [PRESET]", Short: "Hold a hub to the limits of an edition, or to others", Args: cobra.MaximumNArgs(1),
		Long: "Replaces what a hub is held to. A preset is one of free, basic-b1 to basic-b3 and standard-s1 to\n" +
			"standard-s3. Rates are given as KIND=COUNT/s, KIND=COUNT/min or KIND=COUNT/DURATION; 0 is no limit.",
		Example: "  causeway hub quota set standard-s1 --units 2\n" +
			"  causeway hub quota set --rate telemetry=50/s --rate queries=20/min --daily-messages 100000",
		ValidArgs: []string{"free", "basic-b1", "basic-b2", "basic-b3", "standard-s1", "standard-s2", "standard-s3"},
	}
	out := addOutput(cmd, st)
	cmd.Flags().IntVar(&units, "units", 1, "`units` of the edition")
	cmd.Flags().StringArrayVar(&rates, "rate", nil, "`KIND=RATE` in place of the edition's")
	cmd.Flags().Int64Var(&daily, "daily-messages", 0, "`messages` a day in place of the edition's; 0 is no limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s := client.QuotaSettings{Units: units}
		if len(args) > 0 {
			s.Preset = args[0]
		}
		if cmd.Flags().Changed("daily-messages") {
			s.DailyMessages = &daily
		}
		for _, text := range rates {
			name, r, err := parseRate(text)
			if err != nil {
				return err
			}
			if s.Rates == nil {
				s.Rates = map[string]client.Rate{}
			}
			s.Rates[name] = r
		}
		if s.Preset == "" && s.Rates == nil && s.DailyMessages == nil {
			return usagef("nothing to hold the hub to: name a preset, or pass --rate or --daily-messages; see also causeway hub quota clear")
		}
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			q, err := a.SetQuota(ctx, name, s)
			if err != nil {
				return err
			}
			return out.print(q, func(t *table) { quotaTable(t, name, q) })
		})
	}
	return cmd
}

// parseRate reads KIND=COUNT/TIME.
func parseRate(text string) (kind string, r client.Rate, err error) {
	wrong := usagef("--rate %s: write KIND=COUNT/s, KIND=COUNT/min or KIND=COUNT/DURATION, such as telemetry=100/s", text)
	kind, rate, ok := strings.Cut(text, "=")
	count, per, slash := strings.Cut(rate, "/")
	if !ok || kind == "" {
		return "", r, wrong
	}
	if r.Count, err = strconv.ParseFloat(count, 64); err != nil {
		return "", r, wrong
	}
	switch {
	case !slash, per == "s":
		r.Seconds = 1
	case per == "min", per == "m":
		r.Seconds = 60
	default:
		d, err := time.ParseDuration(per)
		if err != nil || d <= 0 {
			return "", r, wrong
		}
		r.Seconds = d.Seconds()
	}
	return kind, r, nil
}

func newCmdQuotaClear(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "clear", Aliases: []string{"delete"}, Short: "Let a hub take what comes", Args: noArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name, err := l.localHub(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			if err := a.ClearQuota(ctx, name); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "hub %s takes what comes\n", name)
			return nil
		})
	}
	return cmd
}
