package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// The formats of results.
const (
	outTable = "table"
	outJSON  = "json"
	outYAML  = "yaml"
)

// output is the --output flag of a command that prints a result.
type output struct {
	st     *state.State
	format string
}

func addOutput(cmd *cobra.Command, st *state.State) *output {
	o := &output{st: st, format: outTable}
	if v, ok := st.Getenv(config.EnvOutput); ok {
		o.format = v
	}
	cmd.Flags().StringVarP(&o.format, "output", "o", o.format, "`format`: table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outTable, outJSON, outYAML}, cobra.ShellCompDirectiveNoFileComp))
	return o
}

func (o *output) check() error {
	switch o.format {
	case outTable, outJSON, outYAML:
		return nil
	}
	return usagef("unknown output format %q: choose table, json or yaml", o.format)
}

// print writes v in the chosen format; a table is written by the function.
func (o *output) print(v any, table func(t *table)) error {
	if err := o.check(); err != nil {
		return err
	}
	switch o.format {
	case outJSON:
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("print result: %w", err)
		}
		_, err = fmt.Fprintf(o.st.Stdout, "%s\n", b)
		return err
	case outYAML:
		b, err := toYAML(v)
		if err != nil {
			return fmt.Errorf("print result: %w", err)
		}
		_, err = o.st.Stdout.Write(b)
		return err
	}
	t := newTable(o.st.Stdout)
	table(t)
	return t.flush()
}

// toYAML writes v with the names and the order that it has in JSON.
func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil { // JSON is YAML
		return nil, err
	}
	if err := plain(&doc); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// plain takes the JSON looks off a YAML document. Text keeps its quotes where
// it would read as something else, which the library decides.
func plain(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		return n.Encode(n.Value)
	}
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		if err := plain(c); err != nil {
			return err
		}
	}
	return nil
}

// table is aligned columns under a header.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
}

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = cell(c)
	}
	if _, err := fmt.Fprintln(t.w, strings.Join(texts, "\t")); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.err
}

func cell(v any) string {
	switch v := v.(type) {
	case time.Time:
		if v.Year() <= 1 {
			return "-"
		}
		return v.UTC().Format("2006-01-02 15:04:05Z")
	case string:
		if v == "" {
			return "-"
		}
		// A tab or line break inside a value would break the columns.
		return strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(v)
	case json.RawMessage:
		var b bytes.Buffer
		if json.Compact(&b, v) != nil {
			return string(v)
		}
		return b.String()
	}
	return fmt.Sprint(v)
}
