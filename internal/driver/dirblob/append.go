package dirblob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// A file in appends/ begins with the name of its blob, so that it can be told
// whether the blob still wants it.

func headerSize(name string) int64 { return 2 + int64(len(name)) }

// header writes the beginning of a file in appends/.
func (t *temp) header(name string) error {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(name))) // at most blob.MaxName
	if _, err := t.f.Write(append(b, name...)); err != nil {
		t.discard()
		return fault("write blob", err)
	}
	return nil
}

// Append implements [blob.Bucket].
func (b bucket) Append(ctx context.Context, name string, data []byte, at int64, check blob.Check) (blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer r.Close()
	defer b.hold(name)()
	now, file, err := b.current(r, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	if err := b.mayAppend(now, name, len(data), at, check); err != nil {
		return blob.Attrs{}, err
	}
	t, err := b.s.temp(r)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer t.discard()
	if err := extend(r, appendsDir+"/"+file, headerSize(name)+now.Size, data); err != nil {
		return blob.Attrs{}, err
	}
	a := *now
	a.Size += int64(len(data))
	a.Parts++
	return b.replace(r, t, a, file, nil, nil)
}

func (b bucket) mayAppend(now *blob.Attrs, name string, n int, at int64, check blob.Check) error {
	if now == nil {
		return fmt.Errorf("blob %q: %w", name, blob.ErrNotFound)
	}
	if check != nil {
		if err := check(now); err != nil {
			return err
		}
	}
	switch {
	case now.Kind != blob.Append:
		return fmt.Errorf("blob %q: %w", name, blob.ErrKind)
	case at >= 0 && at != now.Size:
		return fmt.Errorf("blob %q of %d bytes: %w", name, now.Size, blob.ErrPosition)
	case now.Parts >= blob.MaxAppends:
		return fmt.Errorf("blob %q: %w", name, blob.ErrTooMany)
	case now.Size+int64(n) > b.s.max:
		return fmt.Errorf("blob %q: %w", name, blob.ErrTooLarge)
	}
	return nil
}

// extend writes data at the end of a file, durably, over what an earlier append
// may have left that did not come to its end.
func extend(r *os.Root, path string, at int64, data []byte) error {
	f, err := r.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fault("append to blob", err)
	}
	_, err = f.WriteAt(data, at)
	if err == nil {
		err = f.Sync()
	}
	return fault("append to blob", errors.Join(err, f.Close()))
}

// cleanAppends removes files of append blobs that are gone.
func cleanAppends(r *os.Root) error {
	d, err := r.Open(appendsDir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(dirBatch)
		for _, n := range names {
			if p := appendsDir + "/" + n; !wanted(r, p, n) {
				if err := r.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// wanted reports whether a blob has its bytes in a file of appends/. When in
// doubt it does.
func wanted(r *os.Root, path, id string) bool {
	f, err := r.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	var n [2]byte
	if _, err := io.ReadFull(f, n[:]); err != nil {
		return !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
	}
	name := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(f, name); err != nil || blob.CheckName(string(name)) != nil {
		return false
	}
	x, err := bucket{}.file(r, string(name))
	if err != nil {
		return !errors.Is(err, blob.ErrNotFound)
	}
	defer x.Close()
	return x.doc.Append == id
}
