package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// importModes are what an import does with each enrollment.
var importModes = []string{string(client.BulkCreate), string(client.BulkUpdate), string(client.BulkUpdateIfMatch), string(client.BulkDelete)}

// importResult is what came of an import.
type importResult struct {
	Done   int            `json:"done"`
	Failed []importFailed `json:"failed"`
}

type importFailed struct {
	Line    int    `json:"line"`
	ID      string `json:"id"`
	Code    int    `json:"errorCode"`
	Message string `json:"message"`
}

func newCmdEnrollmentImport(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	mode := importModes[0]
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Create, change or delete many at once, from a file of JSON lines", Args: exactArgs("FILE"),
		Long: `Reads ` + w.what + ` per line, in the JSON that 'show --output json' prints, and
creates, changes or deletes it. Each is done by itself: those that are refused are
listed, and the exit code is 1 when there are any. FILE - is standard input.`,
		Example: `  causeway dps ` + w.name + ` import presses.jsonl
  causeway dps ` + w.name + ` list -o json | jq -c '.[]' | causeway dps ` + w.name + ` import - --mode delete`,
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&mode, "mode", mode, "create, update, updateIfMatchETag or delete")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(importModes, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if err := out.check(); err != nil {
			return err
		}
		if mode, err = oneOf("mode", mode, importModes); err != nil {
			return err
		}
		b, err := st.ReadFile(args[0])
		if err != nil {
			return fmt.Errorf("read enrollments: %w", err)
		}
		list, err := readEnrollments(w.kind, b)
		if err != nil {
			return err
		}
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			r, err := importEnrollments(ctx, c, client.BulkMode(mode), list)
			if r.Done+len(r.Failed) > 0 || err == nil {
				if err := out.print(r, func(t *table) { importTable(t, &r) }); err != nil {
					return err
				}
			}
			if err == nil && len(r.Failed) > 0 {
				err = fmt.Errorf("%d of %d were refused", len(r.Failed), r.Done+len(r.Failed))
			}
			return err
		})
	}
	return cmd
}

func importTable(t *table, r *importResult) {
	t.row("done", r.Done)
	for _, f := range r.Failed {
		t.row(fmt.Sprintf("line %d", f.Line), fmt.Sprintf("%s: %s (%d)", f.ID, f.Message, f.Code))
	}
}

// lineOfFile is an enrollment and where it stands.
type lineOfFile struct {
	client.Enrollment
	line int
}

// readEnrollments reads all of a file before anything is done, so that a mistake
// in the middle leaves nothing half done.
func readEnrollments(kind client.EnrollmentKind, text []byte) (list []lineOfFile, err error) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		e := lineOfFile{line: n}
		if line[0] == '[' {
			return nil, usagef("line %d begins a list, and each line is to be an enrollment: jq -c '.[]' makes lines of a list", n)
		}
		if err := readEnrollment(line, &e.Enrollment); err != nil {
			return nil, usagef("line %d is no enrollment in JSON: %s", n, strings.TrimPrefix(err.Error(), "json: "))
		}
		if e.ID() == "" || e.Kind() != kind {
			return nil, usagef("line %d: %s is missing", n, map[client.EnrollmentKind]string{
				client.IndividualEnrollment: "registrationId", client.EnrollmentGroup: "enrollmentGroupId",
			}[kind])
		}
		e.State = nil // it is the service's
		list = append(list, e)
	}
	return list, nil
}

// readEnrollment reads one line. A name that is not known is most likely misspelled:
// what it stands for would be left out, and the device be let in without it.
func readEnrollment(line []byte, e *client.Enrollment) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows it")
	}
	return nil
}

// importEnrollments does the same with each enrollment.
func importEnrollments(ctx context.Context, c *client.Enrollments, mode client.BulkMode, list []lineOfFile) (importResult, error) {
	r := importResult{Failed: []importFailed{}}
	for batch := range slices.Chunk(list, client.MaxBulkEnrollments) {
		all, lines := make([]client.Enrollment, len(batch)), map[string]int{}
		for i, e := range batch {
			all[i], lines[e.ID()] = e.Enrollment, e.line
		}
		failed, err := c.Bulk(ctx, mode, all)
		if err != nil {
			return r, fmt.Errorf("from line %d on: %w", batch[0].line, err)
		}
		r.Done += len(batch) - len(failed)
		for _, f := range failed {
			id := f.RegistrationID + f.GroupID
			r.Failed = append(r.Failed, importFailed{Line: lines[id], ID: id, Code: f.Code, Message: f.Status})
		}
	}
	return r, nil
}
