package dirblob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// List implements [blob.Bucket].
func (b bucket) List(ctx context.Context, prefix, after string, limit int) ([]blob.Attrs, error) {
	r, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := lister{ctx: ctx, b: b, r: r, prefix: prefix, after: after, limit: limit}
	if limit <= 0 {
		return nil, nil
	}
	if err := l.walk(treeDir, ""); err != nil && !errors.Is(err, errEnough) {
		return nil, fault("list blobs", err)
	}
	return l.found, nil
}

// lister walks a tree in the order of names.
type lister struct {
	ctx    context.Context
	b      bucket
	r      *os.Root
	prefix string
	after  string
	limit  int
	found  []blob.Attrs
}

var errEnough = errors.New("enough")

// entry is a file or directory of the tree. Its key is the name of the blob, or
// what all names below the directory begin with: in the order of keys, no two
// entries of a directory are mixed.
type entry struct {
	key  string
	file string
	kind entryKind
}

// walk visits what is in a directory, whose names begin with text.
func (l *lister) walk(dir, text string) error {
	for after := l.after; ; {
		entries, more, err := l.entries(dir, text, after)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := l.visit(dir, e); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		// Directories may have turned out empty; go on behind the last entry.
		last := entries[len(entries)-1]
		if after = last.key; last.kind != entryBlob {
			after += afterAll
		}
	}
}

// afterAll follows a key so that the whole comes after every name that begins
// with the key: no name has this byte.
const afterAll = "\xff"

func (l *lister) visit(dir string, e entry) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if e.kind != entryBlob {
		return l.walk(dir+"/"+e.file, e.key)
	}
	a, err := l.b.stat(l.r, e.key)
	if err != nil || a == nil { // deleted meanwhile
		return err
	}
	if l.found = append(l.found, *a); len(l.found) >= l.limit {
		return errEnough
	}
	return nil
}

// entries returns the first entries of a directory, in order, that may have
// names after a name; more says that there are others behind them. It holds no
// more of a large directory than is needed.
func (l *lister) entries(dir, text, after string) (all []entry, more bool, err error) {
	d, err := l.r.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // deleted meanwhile
	}
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	most := l.limit - len(l.found)
	cut := func() {
		slices.SortFunc(all, func(x, y entry) int { return strings.Compare(x.key, y.key) })
		if len(all) > most {
			clear(all[most:])
			all, more = all[:most], true
		}
	}
	for {
		files, err := d.Readdirnames(dirBatch)
		for _, f := range files {
			if e, ok := l.relevant(text, f, after); ok {
				all = append(all, e)
			}
		}
		if len(all) >= most+4*dirBatch {
			cut()
		}
		if err == io.EOF {
			cut()
			return all, more, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// relevant reads a file name; ok is false when nothing that is asked for can be
// there.
func (l *lister) relevant(text, file, after string) (e entry, ok bool) {
	t, kind, ok := unescape(file)
	if !ok {
		return e, false
	}
	e = entry{key: text + t, file: file, kind: kind}
	if kind == entryDir {
		e.key += "/"
	}
	if kind == entryBlob {
		return e, e.key > after && strings.HasPrefix(e.key, l.prefix)
	}
	return e, (strings.HasPrefix(e.key, l.prefix) || strings.HasPrefix(l.prefix, e.key)) && e.key+afterAll > after
}
