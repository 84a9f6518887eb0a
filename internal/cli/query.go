package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// NewCmdQuery returns the command that asks queries.
func NewCmdQuery(st *state.State) *cobra.Command {
	var top, size int
	cmd := &cobra.Command{
		Use: "query QUERY", Short: "Ask a query over twins or jobs",
		Long: `Asks a query and prints all that it finds, page by page.

The collections are devices, devices.modules and devices.jobs. SELECT * gives
whole twins; names, aggregates (COUNT, AVG, SUM, MIN, MAX) and GROUP BY give
objects of their own. A query @FILE is read from a file, @- from standard input.`,
		Example: `  causeway query "SELECT * FROM devices WHERE tags.site = 'north' AND status = 'enabled'"
  causeway query "SELECT deviceId, properties.reported.fw AS fw FROM devices WHERE properties.reported.battery < 20" -o json
  causeway query "SELECT properties.reported.fw AS fw, COUNT() AS n FROM devices GROUP BY properties.reported.fw"`,
		Args: exactArgs("QUERY"),
	}
	l := addLogin(cmd, st)
	out := addOutput(cmd, st)
	cmd.Flags().IntVar(&top, "top", 0, "stop after this `number` of items; 0 prints all")
	cmd.Flags().IntVar(&size, "page-size", 0, "ask for this `number` of items at once, up to 1000; default 100")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if top < 0 || size < 0 {
			return usagef("--top and --page-size cannot be below 0")
		}
		if err := out.check(); err != nil {
			return err
		}
		text := args[0]
		if name, ok := strings.CutPrefix(text, "@"); ok {
			b, err := st.ReadFile(name)
			if err != nil {
				return fmt.Errorf("read the query: %w", err)
			}
			text = string(b)
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			return askAll(ctx, s, text, top, size, newItems(out))
		})
	}
	return cmd
}

// askAll prints the items of a query, up to top unless that is 0.
func askAll(ctx context.Context, s *client.Service, text string, top, size int, out *items) error {
	printed := 0
	for next := ""; ; {
		if top > 0 && (size == 0 || size > top-printed) {
			size = top - printed
		}
		p, err := s.QueryPage(ctx, text, size, next)
		if err != nil {
			return err
		}
		if top > 0 && len(p.Items) > top-printed {
			p.Items = p.Items[:top-printed]
		}
		if err := out.page(p); err != nil {
			return err
		}
		printed += len(p.Items)
		if next = p.Continuation; next == "" || printed == top && top > 0 {
			return out.end()
		}
	}
}

// items prints objects page by page, so that there may be any number of them.
type items struct {
	out     *output
	printed int
	columns []string // of the table so far
}

func newItems(out *output) *items { return &items{out: out} }

func (it *items) page(p client.QueryPage) error {
	if len(p.Items) == 0 {
		return nil
	}
	switch it.out.format {
	case outJSON:
		return it.json(p.Items)
	case outYAML:
		it.printed += len(p.Items)
		return it.out.print(p.Items, nil) // lists go on by themselves
	}
	return it.table(p)
}

// json prints one array over all pages.
func (it *items) json(list []json.RawMessage) error {
	for _, item := range list {
		b, err := json.MarshalIndent(item, "  ", "  ")
		if err != nil {
			return fmt.Errorf("print result: %w", err)
		}
		before := ",\n  "
		if it.printed == 0 {
			before = "[\n  "
		}
		if _, err := fmt.Fprintf(it.out.st.Stdout, "%s%s", before, b); err != nil {
			return err
		}
		it.printed++
	}
	return nil
}

// end prints what closes the result.
func (it *items) end() error {
	var err error
	switch {
	case it.printed > 0 && it.out.format == outJSON:
		_, err = fmt.Fprintln(it.out.st.Stdout, "\n]")
	case it.printed == 0 && it.out.format != outTable:
		_, err = fmt.Fprintln(it.out.st.Stdout, "[]")
	}
	return err
}

// twinColumns are what a table shows of whole twins.
var twinColumns = []string{"deviceId", "moduleId", "status", "connectionState", "version", "tags"}

// table prints a page. Its columns are the names in its objects; a page with
// others gets a header of its own.
func (it *items) table(p client.QueryPage) error {
	rows := make([]map[string]json.RawMessage, len(p.Items))
	names := map[string]bool{}
	for i, item := range p.Items {
		if err := json.Unmarshal(item, &rows[i]); err != nil {
			return fmt.Errorf("read an item: %w", err)
		}
		for name := range rows[i] {
			names[name] = true
		}
	}
	columns := slices.Sorted(maps.Keys(names))
	if p.ItemType == "Twin" {
		columns = slices.DeleteFunc(slices.Clone(twinColumns), func(c string) bool { return !names[c] })
	}
	t := newTable(it.out.st.Stdout)
	if it.printed == 0 || !slices.Equal(columns, it.columns) {
		head := make([]any, len(columns))
		for i, c := range columns {
			head[i] = c
		}
		t.row(head...)
		it.columns = columns
	}
	for _, r := range rows {
		cells := make([]any, len(columns))
		for i, c := range columns {
			cells[i] = plainCell(r[c])
		}
		t.row(cells...)
	}
	it.printed += len(rows)
	return t.flush()
}

// plainCell is a value as a table shows it: text without quotes, nothing for
// what is not there.
func plainCell(v json.RawMessage) any {
	var s string
	switch {
	case v == nil:
		return ""
	case json.Unmarshal(v, &s) == nil && string(v) != "null":
		return s
	}
	return v
}
