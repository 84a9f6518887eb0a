package seglog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// MetaFile is in every directory that holds a log.
const MetaFile = metaName

const (
	metaName  = "log.meta"
	metaMagic = "CWLOGMET"
	metaBytes = 8 + 4 + 4 + saltBytes + 8 + 4

	tmpSuffix = ".tmp"
)

// meta is what was fixed when the log was made.
type meta struct {
	partitions int
	salt       [saltBytes]byte
	created    int64 // µs since 1970
}

func (m *meta) append(dst []byte) []byte {
	b := append(make([]byte, 0, metaBytes), metaMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.partitions))
	b = append(b, m.salt[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.created))
	return append(dst, sealed(b)...)
}

func parseMeta(b []byte) (meta, error) {
	if err := checkVersion(metaName, metaMagic, b); err != nil {
		return meta{}, err
	}
	body, ok := unsealed(b)
	if !ok || len(b) != metaBytes {
		return meta{}, fmt.Errorf("%s: %w", metaName, errFormat)
	}
	d := decoder{b: body[len(metaMagic)+4:]}
	m := meta{partitions: int(d.u32()), salt: [saltBytes]byte(d.take(saltBytes)), created: d.i64()}
	if m.partitions < 1 || m.partitions > MaxPartitions {
		return meta{}, fmt.Errorf("%s: %d partitions: %w", metaName, m.partitions, errFormat)
	}
	return m, nil
}

// loadMeta reads the log's meta file, or makes it in a directory that holds no
// log yet. Want is the number of partitions asked for, 0 for any.
func loadMeta(dir fsys, names []string, o Options) (meta, error) {
	b, err := readFile(dir, metaName, metaBytes+1)
	switch {
	case err == nil:
		m, err := parseMeta(b)
		if err != nil {
			return meta{}, err
		}
		if o.Partitions != 0 && o.Partitions != m.partitions {
			return meta{}, fmt.Errorf("the log has %d partitions, but %d are configured; the number cannot be changed, set it to %d or begin a new log in another directory",
				m.partitions, o.Partitions, m.partitions)
		}
		return m, nil
	case !errors.Is(err, fs.ErrNotExist):
		return meta{}, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".seg") {
			return meta{}, fmt.Errorf("%s is missing, but there are segments: restore it, or move the segments away to begin a new log", metaName)
		}
	}
	m := meta{partitions: o.partitions(), created: micros(time.Now())}
	rand.Read(m.salt[:]) // never fails, see crypto/rand
	if err := replaceFile(dir, metaName, m.append(nil)); err != nil {
		return meta{}, err
	}
	return m, nil
}

// readFile returns what the file holds, at most limit bytes.
func readFile(dir fsys, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name, false)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close() // read only
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", name, err)
	}
	b := make([]byte, min(size, limit))
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// replaceFile puts b in the file called name, whole or not at all, durably.
func replaceFile(dir fsys, name string, b []byte) error {
	tmp := name + tmpSuffix
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", tmp, err)
	}
	f, err := dir.Open(tmp, true)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", tmp, err), dir.Remove(tmp))
	}
	if err := dir.Rename(tmp, name); err != nil {
		return fmt.Errorf("rename %s: %w", tmp, err)
	}
	if err := dir.SyncDir(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
