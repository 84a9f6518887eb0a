package dirblob

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum of the Blob service, no defence
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// bucket is one container.
type bucket struct {
	s    *Store
	name string
}

// open opens the directory of the container for one operation.
func (b bucket) open(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if blob.CheckContainer(b.name) != nil {
		return nil, fmt.Errorf("container %q: %w", b.name, blob.ErrNoContainer)
	}
	r, err := b.s.root.OpenRoot(b.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", b.name, blob.ErrNoContainer)
	}
	if err != nil {
		return nil, fault("open container "+b.name, err)
	}
	return r, nil
}

// begin is open for an operation on a blob of that name.
func (b bucket) begin(ctx context.Context, name string) (*os.Root, error) {
	if err := blob.CheckName(name); err != nil {
		return nil, err
	}
	return b.open(ctx)
}

func (b bucket) hold(name string) (release func()) { return b.s.hold(b.name + "/" + name) }

// Put implements [blob.Bucket].
func (b bucket) Put(ctx context.Context, name string, src io.Reader, o blob.Options) (blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer r.Close()
	if err := errors.Join(blob.CheckProperties(o.Properties), b.check(r, name, o.Check)); err != nil {
		return blob.Attrs{}, err
	}
	data := ""
	t, err := b.s.temp(r)
	if o.Kind == blob.Append && err == nil {
		data = random()
		err = t.header(name)
	}
	if err != nil {
		return blob.Attrs{}, err
	}
	defer t.discard()
	size, sum, err := t.fill(ctx, src, limit(o.Limit, b.s.max))
	if err != nil {
		return blob.Attrs{}, err
	}
	if o.Sum != nil && !bytes.Equal(sum, o.Sum) {
		return blob.Attrs{}, fmt.Errorf("%w: it has %x", blob.ErrSum, sum)
	}
	a := blob.Attrs{Name: name, Kind: o.Kind, Size: size, Properties: o.Properties.Clone()}
	if a.MD5 == nil && o.Kind == blob.Block {
		a.MD5 = sum
	}
	defer b.hold(name)()
	if data != "" {
		// The bytes first: attributes must not name a file that is not there.
		if err := t.move(appendsDir + "/" + data); err != nil {
			return blob.Attrs{}, err
		}
		if t, err = b.s.temp(r); err != nil {
			return blob.Attrs{}, errors.Join(err, r.Remove(appendsDir+"/"+data))
		}
		defer t.discard()
	}
	a, err = b.replace(r, t, a, data, nil, o.Check)
	if err != nil && data != "" {
		err = errors.Join(err, r.Remove(appendsDir+"/"+data))
	}
	return a, err
}

// limit returns the smaller of what is asked and what the driver takes.
func limit(asked, most int64) int64 {
	if asked > 0 {
		return min(asked, most)
	}
	return most
}

// check calls a Check with what the name holds now.
func (b bucket) check(r *os.Root, name string, check blob.Check) error {
	if check == nil {
		return nil
	}
	now, err := b.stat(r, name)
	if err != nil {
		return err
	}
	return check(now)
}

// stat returns what the name holds now, nil for nothing.
func (b bucket) stat(r *os.Root, name string) (*blob.Attrs, error) {
	f, err := b.file(r, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := f.doc.attrs()
	return &a, nil
}

// file opens the file of a blob.
func (b bucket) file(r *os.Root, name string) (*file, error) {
	f, err := r.Open(treeDir + "/" + blobPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %q: %w", name, blob.ErrNotFound)
	}
	if err != nil {
		return nil, fault("open blob", err)
	}
	x, err := readFile(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read blob %q: %w", name, err), f.Close())
	}
	return x, nil
}

// replace puts a written file in the place of a blob. The caller holds the
// name. What a is missing that every version has, it gets here.
func (b bucket) replace(r *os.Root, t *temp, a blob.Attrs, data string, parts []part, check blob.Check) (blob.Attrs, error) {
	before, old, err := b.current(r, a.Name)
	if err != nil {
		return blob.Attrs{}, err
	}
	if check != nil {
		if err := check(before); err != nil {
			return blob.Attrs{}, err
		}
	}
	a.ETag, a.Modified = newETag(), time.Now().UTC()
	if a.Created = a.Modified; before != nil {
		a.Created = before.Created
	}
	text, err := tail(documentOf(a, data), parts)
	if err != nil {
		return blob.Attrs{}, err
	}
	if _, err := t.f.Write(text); err != nil {
		return blob.Attrs{}, fault("write blob", err)
	}
	if err := t.move(treeDir + "/" + blobPath(a.Name)); err != nil {
		return blob.Attrs{}, err
	}
	if old != "" && old != data {
		_ = r.Remove(appendsDir + "/" + old) // or else at the next start
	}
	return a, nil
}

// current returns what the name holds now, nil for nothing, and the file of its
// bytes when it is an append blob.
func (b bucket) current(r *os.Root, name string) (now *blob.Attrs, data string, err error) {
	f, err := b.file(r, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	a := f.doc.attrs()
	return &a, f.doc.Append, nil
}

// temp is a file that is being written.
type temp struct {
	s    *Store
	root *os.Root
	name string // "" once it has moved
	f    *os.File
}

// temp makes a file to write to.
func (s *Store) temp(r *os.Root) (*temp, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	name := tmpDir + "/" + random()
	f, err := r.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fault("make a file for a blob", err)
	}
	return &temp{s: s, root: r, name: name, f: f}, nil
}

// fill copies src, up to most bytes, and returns their number and MD5.
func (t *temp) fill(ctx context.Context, src io.Reader, most int64) (int64, []byte, error) {
	sum := md5.New() //nolint:gosec // see the import
	n, err := t.copy(ctx, src, most, sum)
	return n, sum.Sum(nil), err
}

// copy is fill without MD5 when sum is nil.
func (t *temp) copy(ctx context.Context, src io.Reader, most int64, sum hash.Hash) (n int64, err error) {
	buf := make([]byte, copyBytes)
	for look := int64(reserveEvery); ; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := src.Read(buf)
		if n += int64(m); n > most {
			return n, fmt.Errorf("%w: at most %d bytes", blob.ErrTooLarge, most)
		}
		if sum != nil {
			sum.Write(buf[:m])
		}
		if _, err := t.f.Write(buf[:m]); err != nil {
			return n, fault("write blob", err)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if n >= look {
			if err := t.s.room(); err != nil {
				return n, err
			}
			look = n + reserveEvery
		}
	}
}

// move makes the file durable and gives it its name, in place of what has it.
func (t *temp) move(to string) error {
	if err := errors.Join(t.f.Sync(), t.f.Close()); err != nil {
		return fault("write blob", err)
	}
	var err error
	for range renameRetries {
		if err = t.s.makeParents(t.root, to); err == nil {
			err = t.root.Rename(t.name, to)
		}
		// Somebody may delete the last other blob of a directory, and then the
		// directory, at this very moment.
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil {
		t.name = ""
		err = syncDir(t.root, path.Dir(to))
	}
	return fault("name blob", err)
}

// discard removes the file unless it has moved.
func (t *temp) discard() {
	if t.name != "" {
		t.f.Close()
		_ = t.root.Remove(t.name)
	}
}

// makeParents makes the directories above a path, durably.
func (s *Store) makeParents(r *os.Root, p string) error {
	s.dirs.RLock()
	_, err := r.Stat(path.Dir(p))
	s.dirs.RUnlock()
	if err == nil {
		return nil
	}
	s.dirs.Lock()
	defer s.dirs.Unlock()
	for _, d := range parents(p) {
		switch err := r.Mkdir(d, 0o700); {
		case err == nil:
			if err := syncDir(r, path.Dir(d)); err != nil {
				return errors.Join(err, r.Remove(d))
			}
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return nil
}

// Set implements [blob.Bucket].
func (b bucket) Set(ctx context.Context, name string, change func(*blob.Properties), check blob.Check) (blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer r.Close()
	defer b.hold(name)()
	f, err := b.file(r, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer f.Close()
	a := f.doc.attrs()
	if check != nil { // before the bytes are copied
		now := a
		if err := check(&now); err != nil {
			return blob.Attrs{}, err
		}
	}
	a.Properties = a.Properties.Clone()
	change(&a.Properties)
	if err := blob.CheckProperties(a.Properties); err != nil {
		return blob.Attrs{}, err
	}
	parts, err := f.parts()
	if err != nil {
		return blob.Attrs{}, fmt.Errorf("read blob %q: %w", name, err)
	}
	t, err := b.s.temp(r)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer t.discard()
	if f.doc.Append == "" {
		if _, err := t.copy(ctx, io.NewSectionReader(f, 0, a.Size), b.s.max, nil); err != nil {
			return blob.Attrs{}, err
		}
	}
	return b.replace(r, t, a, f.doc.Append, parts, check)
}

// Delete implements [blob.Bucket].
func (b bucket) Delete(ctx context.Context, name string, check blob.Check) error {
	r, err := b.begin(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	defer b.hold(name)()
	now, data, err := b.current(r, name)
	if err != nil {
		return err
	}
	if now == nil {
		return fmt.Errorf("blob %q: %w", name, blob.ErrNotFound)
	}
	if check != nil {
		if err := check(now); err != nil {
			return err
		}
	}
	p := treeDir + "/" + blobPath(name)
	if err := r.Remove(p); err != nil {
		return fault("delete blob", err)
	}
	if err := syncDir(r, path.Dir(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault("delete blob", err)
	}
	if data != "" {
		_ = r.Remove(appendsDir + "/" + data) // or else at the next start
	}
	b.unstage(r, name)
	// Directories without blobs are no harm, only untidy. One that is not empty
	// stays.
	for d := path.Dir(p); d != treeDir; d = path.Dir(d) {
		if r.Remove(d) != nil {
			break
		}
	}
	return nil
}
