package secret

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/causeway-iot/causeway/internal/core/durable"
)

// Limits of a key file.
const (
	maxFile = 64 << 10 // bytes
	maxKeys = 100
)

// header begins a key file that is made here. Lines that begin with '#' are
// comments.
const header = `# Key that seals the secrets stored beside this file. Keep it, and keep it secret:
# without it the stored keys of devices and policies cannot be read.
# To change it put a new line of 32 random bytes, base64, above the old one.
`

// LoadOrCreate reads the key file at path, or makes one with a new random key.
// The first line of the file is the key that seals, all others open as well.
//
// A new file is readable by its owner only and is durable, with its name, when
// LoadOrCreate returns; when two processes make it at once, both use the same.
// A file that others may read is refused, except on Windows.
func LoadOrCreate(path string) (*Keyring, error) {
	k, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	return load(path)
}

func load(path string) (*Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at key file %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("key file %s may be read or changed by other users (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("key file %s is longer than %d bytes", path, maxFile)
	}
	keys, err := parseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return NewKeyring(keys[0], keys[1:]...)
}

// parseKeys reads the lines of a key file. Its errors name lines, never what is
// on them.
func parseKeys(b []byte) ([][]byte, error) {
	var keys [][]byte
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != KeySize {
			return nil, fmt.Errorf("line %d is not base64 of %d bytes", n, KeySize)
		}
		if keys = append(keys, key); len(keys) > maxKeys {
			return nil, fmt.Errorf("it has more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key; restore it from a backup, or remove it if nothing is sealed yet")
	}
	return keys, nil
}

// create makes a key file with a new key unless another process was faster.
func create(path string) (err error) {
	dir := filepath.Dir(path)
	if err := durable.MakeDir(dir); err != nil {
		return fmt.Errorf("create directory of key file: %w", err)
	}
	key := make([]byte, KeySize)
	rand.Read(key) // never fails

	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	defer os.Remove(f.Name()) // its own name is not needed once it has the final one
	_, err = f.WriteString(header + base64.StdEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	// A link, unlike a rename, never replaces a key that something is sealed with.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		// Some file systems have no links.
		if err := os.Rename(f.Name(), path); err != nil {
			return fmt.Errorf("name key file: %w", err)
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return fmt.Errorf("sync directory of key file: %w", err)
	}
	return nil
}
