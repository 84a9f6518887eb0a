package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// importAll applies the lines of the input, then those of the configurations if
// they are wanted. What could not be applied is listed in the output container.
// Resumed says that the first lines may have been applied before a restart.
func (w *worker) importAll(ctx context.Context, resumed bool) error {
	in, err := w.containers.Open(w.job.Input)
	if err != nil {
		return err
	}
	out, err := w.containers.Open(w.job.Output)
	if err != nil {
		return err
	}
	if !w.job.Position.DevicesDone {
		if err := w.importFile(ctx, in, out, w.job.InputName, resumed, w.applyItems); err != nil {
			return err
		}
		to := w.job.State
		to.Position.DevicesDone, to.Position.Offset, to.Position.ETag = true, 0, ""
		if err := w.save(ctx, to); err != nil {
			return err
		}
	}
	if w.job.Configurations && w.configurations != nil {
		if err := w.importFile(ctx, in, out, w.job.ConfigurationsName, resumed, w.applyConfigurations); err != nil {
			return err
		}
	}
	n := w.job.Position.ErrorBlocks
	if n == 0 {
		return nil
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = blockID(i)
	}
	return w.try(ctx, "write "+ErrorsName, func() error { return out.Commit(ctx, ErrorsName, ids) })
}

// problem is a line of the list of errors.
type problem struct {
	ID          string `json:"id,omitempty"`
	ModuleID    string `json:"moduleId,omitempty"`
	ErrorCode   string `json:"errorCode"`
	ErrorStatus string `json:"errorStatus"`
	Line        int64  `json:"offset"` // in bytes, of the line in the file
}

// batch is some lines and where they are.
type batch struct {
	lines   [][]byte // a nil one is too long
	offsets []int64
	bytes   int
}

func (b *batch) full() bool { return len(b.lines) >= batchLines || b.bytes >= batchBytes }

// importFile applies a file, some lines at a time. After each of them the
// position is written, when what went wrong is: nothing of it is lost.
func (w *worker) importFile(ctx context.Context, in, out Container, name string, resumed bool, apply func(ctx context.Context, b batch, resumed bool) ([]problem, error)) error {
	for tries := 1; ; {
		began := w.job.Position.Offset
		err := w.importFrom(ctx, in, out, name, &resumed, apply)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errBroken) {
			return err
		}
		if w.job.Position.Offset > began {
			tries = 1
		}
		if tries == attempts {
			return causeway.Errorf(causeway.InvalidStorageEndpointOrBlob, "transfer.import", "blob %s could not be read to its end: its connection broke %d times in one place", name, tries)
		}
		tries++
		if !sleep(ctx, retryFirst) {
			return ctx.Err()
		}
	}
}

// errBroken says that a blob stopped in the middle.
var errBroken = errors.New("the connection of a blob broke")

func (w *worker) importFrom(ctx context.Context, in, out Container, name string, resumed *bool, apply func(ctx context.Context, b batch, resumed bool) ([]problem, error)) error {
	pos := w.job.Position
	var obj Object
	err := w.try(ctx, "read "+name, func() (err error) {
		obj, err = in.Read(ctx, name, pos.Offset, pos.ETag)
		return err
	})
	if err != nil {
		return err
	}
	defer obj.Close()
	if pos.ETag == "" {
		to := w.job.State
		to.Position.ETag = obj.ETag
		if err := w.save(ctx, to); err != nil {
			return err
		}
	}
	r := newLines(obj, pos.Offset)
	for {
		b, end, err := read(r)
		if err != nil {
			return err
		}
		if len(b.lines) > 0 {
			problems, err := apply(ctx, b, *resumed)
			if err != nil {
				return err
			}
			*resumed = false
			if err := w.checkpoint(ctx, out, r.off, obj.Size, len(b.lines), problems); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// read returns the next lines that are not empty.
func read(r *lines) (b batch, end bool, err error) {
	for !b.full() {
		at := r.off
		line, long, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return b, true, nil
		case err != nil:
			return b, false, fmt.Errorf("%w: %w", errBroken, err)
		case long:
			line = nil
		case len(line) == 0:
			continue
		default:
			line = slices.Clone(line)
		}
		b.lines, b.offsets, b.bytes = append(b.lines, line), append(b.offsets, at), b.bytes+len(line)
	}
	return b, false, nil
}

// checkpoint stages what went wrong, then writes how far the import is.
func (w *worker) checkpoint(ctx context.Context, out Container, off, size int64, lines int, problems []problem) error {
	to := w.job.State
	p := &to.Position
	if len(problems) > 0 {
		var text []byte
		for _, x := range problems {
			text = append(append(text, hubjson.Must(x)...), '\n')
		}
		// Under its number: written again after a crash it is the same one.
		err := w.try(ctx, "write "+ErrorsName, func() error { return out.Stage(ctx, ErrorsName, blockID(p.ErrorBlocks), text) })
		if err != nil {
			return err
		}
		p.ErrorBlocks++
	}
	p.Offset, p.Failed, p.Applied = off, p.Failed+len(problems), p.Applied+lines-len(problems)
	if size > 0 {
		to.Progress = int(min(99, 100*off/size))
	}
	return w.save(ctx, to)
}

// applyItems applies lines that are identities.
func (w *worker) applyItems(ctx context.Context, b batch, resumed bool) ([]problem, error) {
	items := make([]bulk.Item, len(b.lines))
	for i, line := range b.lines {
		if line == nil {
			items[i] = tooLong()
		} else {
			items[i] = bulk.Parse(line)
		}
	}
	var out []problem
	for start := 0; start < len(items); {
		end := unique(items, start)
		failed, err := w.applyRun(ctx, items[start:end])
		if err != nil {
			return nil, err
		}
		for _, f := range failed {
			if resumed && w.done(ctx, &items[start+f.Index], f.Err) {
				continue
			}
			out = append(out, problem{f.Device, f.Module, causeway.CodeOf(f.Err).Name(), causeway.MessageOf(f.Err), b.offsets[start+f.Index]})
		}
		start = end
	}
	return out, nil
}

// unique returns how far items from start on name no identity twice: lines about
// one identity are applied in their order, wherever a batch ends.
func unique(items []bulk.Item, start int) int {
	type name struct{ device, module string }
	seen := map[name]bool{}
	for i := start; i < len(items); i++ {
		n := name{items[i].Device, items[i].Module}
		if seen[n] && items[i].Err == nil {
			return i
		}
		seen[n] = true
	}
	return len(items)
}

// applyRun applies items, those again that fail by a fault of ours.
func (w *worker) applyRun(ctx context.Context, items []bulk.Item) ([]bulk.Failure, error) {
	var final []bulk.Failure
	index := make([]int, len(items)) // of the items that are left
	for i := range index {
		index[i] = i
	}
	wait := retryFirst
	for try := 1; ; try++ {
		failed, err := w.bulk.Apply(ctx, w.job.Hub, items)
		if err != nil {
			return nil, err
		}
		var again []bulk.Item
		var left []int
		for _, f := range failed {
			at := f.Index
			f.Index = index[at]
			if causeway.CodeOf(f.Err) < causeway.GenericServerError || try == attempts {
				final = append(final, f)
				continue
			}
			if try == 1 && len(again) == 0 {
				w.log.WarnContext(ctx, "identities cannot be imported for now, trying again", obs.KeyError, f.Err)
			}
			again, left = append(again, items[at]), append(left, index[at])
		}
		if len(again) == 0 {
			return final, nil
		}
		items, index = again, left
		if !sleep(ctx, wait) {
			return nil, ctx.Err()
		}
		wait = min(2*wait, retryMost)
	}
}

// done reports whether an item failed because it was applied before a restart:
// what it was to create was created by this job, what it was to delete is gone.
func (w *worker) done(ctx context.Context, it *bulk.Item, err error) bool {
	switch causeway.CodeOf(err) {
	case causeway.DeviceAlreadyExists, causeway.ModuleAlreadyExistsOnDevice:
		r, err := w.registry.Get(ctx, causeway.Identity{Hub: w.job.Hub, Device: it.Device, Module: it.Module})
		return err == nil && !r.Created.Before(w.job.Began)
	case causeway.DeviceNotFound, causeway.ModuleNotFound:
		return it.Mode == bulk.Delete || it.Mode == bulk.DeleteIfMatchETag
	}
	return false
}

// applyConfigurations applies lines that are configurations; again, if need be.
func (w *worker) applyConfigurations(ctx context.Context, b batch, _ bool) ([]problem, error) {
	var out []problem
	for i, line := range b.lines {
		err := tooLong().Err
		if line != nil {
			err = w.configurations.Import(ctx, w.job.Hub, line)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			out = append(out, problem{ErrorCode: causeway.CodeOf(err).Name(), ErrorStatus: causeway.MessageOf(err), Line: b.offsets[i]})
		}
	}
	return out, nil
}
