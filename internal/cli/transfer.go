package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// transferFor is how long an address in the hub's own storage is good that a
// command makes.
const transferFor = 24 * time.Hour

const placeHelp = `A place is CONTAINER/NAME in the hub's own storage (see 'causeway blob'), or
https://…/CONTAINER?SIGNATURE of storage elsewhere, and then NAME by --blob.`

func newCmdJobExport(st *state.State, l *login) *cobra.Command {
	var t client.Transfer
	var name string
	var keys, wait bool
	cmd := &cobra.Command{
		Use: "export PLACE", Short: "Write all identities with their twins to a blob", Args: exactArgs("PLACE"),
		Long:    "Writes all devices and modules with their twins, one JSON object a line.\n" + placeHelp,
		Example: "  causeway job export backup/devices.txt --configurations --wait",
	}
	out := addOutput(cmd, st)
	cmd.Flags().BoolVar(&keys, "keys", true, "export keys; without, an import makes new ones")
	addTransferFlags(cmd, &t, &name, &wait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t.Type, t.ExcludeKeys = client.TransferExport, !keys
		var err error
		if t.Output, t.OutputName, err = l.place(cmd.Context(), args[0], name, "rcw", true); err != nil {
			return err
		}
		return runTransfer(cmd.Context(), st, l, out, t, wait)
	}
	return cmd
}

func newCmdJobImport(st *state.State, l *login) *cobra.Command {
	var t client.Transfer
	var name, problems string
	var wait bool
	cmd := &cobra.Command{
		Use: "import PLACE", Short: "Create, update or delete identities from a blob", Args: exactArgs("PLACE"),
		Long: "Applies a file of an export, or one with other importModes, line by line. What could not\nbe applied is listed in importErrors.log, in the same container unless --errors names another.\n" +
			placeHelp,
		Example: "  causeway blob put devices.txt backup/ && causeway job import backup/devices.txt --wait",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&problems, "errors", "", "`container` for the list of errors, or its address")
	addTransferFlags(cmd, &t, &name, &wait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t.Type = client.TransferImport
		var err error
		if t.Input, t.InputName, err = l.place(cmd.Context(), args[0], name, "rcw", false); err != nil {
			return err
		}
		if problems != "" {
			if t.Output, _, err = l.place(cmd.Context(), problems, "-", "rcw", true); err != nil {
				return err
			}
		}
		if !wait {
			return runTransfer(cmd.Context(), st, l, out, t, wait)
		}
		place := cmp.Or(problems, args[0])
		before, _, err := l.importProblems(cmd.Context(), place)
		if err != nil {
			return err
		}
		if err := runTransfer(cmd.Context(), st, l, out, t, wait); err != nil {
			return err
		}
		after, lines, err := l.importProblems(cmd.Context(), place)
		if err != nil || after == before {
			return err
		}
		container, _, _ := strings.Cut(place, "/")
		return fmt.Errorf("%d lines could not be applied: 'causeway blob get %s/%s' says which and why", lines, container, importErrors)
	}
	return cmd
}

// importErrors is the blob in which a hub lists what an import could not apply.
const importErrors = "importErrors.log"

// importProblems returns which list of what an import could not apply there is, ""
// for none, and how many lines it has. An earlier import may have left one. Of
// storage elsewhere nothing is known: who has signed its address reads it.
func (l *login) importProblems(ctx context.Context, place string) (etag string, lines int, err error) {
	if strings.Contains(place, "://") {
		return "", 0, nil
	}
	container, _, _ := strings.Cut(place, "/")
	err = l.withBlobs(ctx, func(ctx context.Context, b *blobs) error {
		res, err := b.request(ctx, http.MethodGet, client.BlobGrant{Container: container, Blob: importErrors, Permissions: "r"}, nil, nil, 0, nil)
		if causeway.CodeOf(err) == causeway.GenericNotFound {
			return nil
		}
		if err != nil {
			return fmt.Errorf("see what could not be applied, in %s/%s: %w", container, importErrors, err)
		}
		defer res.Body.Close()
		etag = res.Header.Get("ETag")
		for buf := make([]byte, 32<<10); ; {
			n, err := res.Body.Read(buf)
			lines += bytes.Count(buf[:n], []byte{'\n'})
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return etag, lines, err
}

func addTransferFlags(cmd *cobra.Command, t *client.Transfer, name *string, wait *bool) {
	cmd.Flags().StringVar(name, "blob", "", "`name` of the blob, for an address elsewhere; default devices.txt")
	cmd.Flags().BoolVar(&t.Configurations, "configurations", false, "configurations, too, in configurations.txt")
	cmd.Flags().BoolVar(wait, "wait", false, "wait until it has ended")
}

// place returns the address of a container and the name in it. A container of
// the hub's own storage is signed, and made if need be.
func (l *login) place(ctx context.Context, place, name, permissions string, makeIt bool) (uri, blob string, err error) {
	if strings.Contains(place, "://") {
		return place, name, nil
	}
	container, inside, _ := strings.Cut(place, "/")
	if name == "" {
		name = inside
	}
	err = l.withBlobs(ctx, func(ctx context.Context, b *blobs) error {
		if makeIt {
			if err := b.create(ctx, container); err != nil {
				return err
			}
		}
		access, err := b.admin.SignBlob(ctx, b.hub, client.BlobGrant{Container: container, Permissions: permissions, Seconds: int64(transferFor.Seconds())})
		uri = "https://" + b.host + access.Path + "?" + access.Query
		return err
	})
	return uri, name, err
}

func runTransfer(ctx context.Context, st *state.State, l *login, out *output, t client.Transfer, wait bool) error {
	return l.with(ctx, func(ctx context.Context, s *client.Service) error {
		created, err := s.CreateTransfer(ctx, t)
		if err != nil {
			return err
		}
		if !wait {
			return out.print(created, func(tab *table) { transferTable(tab, created) })
		}
		return watchTransfer(ctx, st, s, out, created.ID)
	})
}

func transferTable(t *table, x client.Transfer) {
	t.row("job", x.ID)
	t.row("type", x.Type)
	t.row("status", x.Status)
	if x.FailureReason != "" {
		t.row("reason", x.FailureReason)
	}
	t.row("progress", fmt.Sprintf("%d %%", x.Progress))
	if x.Input != "" {
		t.row("from", x.Input+"/"+x.InputName)
	}
	if x.OutputName != "" {
		t.row("to", x.Output+"/"+x.OutputName)
	}
}

// watchTransfer tells of the progress of a transfer until it ends.
func watchTransfer(ctx context.Context, st *state.State, s *client.Service, out *output, id string) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := -1
	for {
		x, err := s.Transfer(ctx, id)
		if err != nil {
			return err
		}
		if x.Progress != last {
			fmt.Fprintf(st.Stderr, "%s %s: %s, %d %%\n", x.Type, x.ID, x.Status, x.Progress)
			last = x.Progress
		}
		if x.Ended() {
			if err := out.print(x, func(t *table) { transferTable(t, x) }); err != nil {
				return err
			}
			if x.Status != "completed" {
				return fmt.Errorf("the %s is %s: %s", x.Type, x.Status, x.FailureReason)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newCmdJobTransfers(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "transfers", Short: "List exports and imports, the newest first", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			list, err := s.Transfers(ctx)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("JOB", "TYPE", "STATUS", "PROGRESS", "BEGAN", "REASON")
				for _, x := range list {
					began := ""
					if !x.Start.IsZero() {
						began = x.Start.Local().Format(time.DateTime)
					}
					t.row(x.ID, x.Type, x.Status, fmt.Sprintf("%d %%", x.Progress), began, x.FailureReason)
				}
			})
		})
	}
	return cmd
}
