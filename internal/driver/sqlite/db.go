package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
)

// Options of a database. The zero value is useful.
type Options struct {
	Readers       int // reading connections at most; 0 means 4
	MaxIdentities int // devices and modules of one hub; 0 means 1,000,000

	// Observe is told of every group commit: how many changes it held, how
	// long it took, and why it failed. It runs on the writing goroutine.
	Observe func(changes int, took time.Duration, err error)

	Log *slog.Logger // nil discards
}

// DB is an open state database. Its stores are safe for concurrent use.
type DB struct {
	path          string
	damage        *damage
	maxIdentities int
	readers       readers
	queries       chan struct{} // full while as many queries run as may
	scans         chan struct{} // of those the ones that look at everything
	writer        writer
	closeOnce     sync.Once
	closeErr      error
}

// Open opens the database file at path, which it creates with mode 0600 when
// there is none, and brings its schema up to date. It refuses a schema newer
// than the program, and a file of another program.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	if o.Readers <= 0 {
		o.Readers = defaultReaders
	}
	if o.MaxIdentities <= 0 {
		o.MaxIdentities = defaultMaxIdentities
	}
	if o.Observe == nil {
		o.Observe = func(int, time.Duration, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	d := &damage{log: o.Log, told: map[string]bool{}}
	c, err := dial(ctx, path, d,
		fmt.Sprintf("busy_timeout=%d", busyTimeout.Milliseconds()),
		"journal_mode=WAL",
		"synchronous=FULL",
		"foreign_keys=ON",
		"temp_store=MEMORY",
		fmt.Sprintf("cache_size=-%d", writerCacheKiB),
		fmt.Sprintf("wal_autocheckpoint=%d", checkpointPages),
		fmt.Sprintf("journal_size_limit=%d", walKept),
	)
	if err != nil {
		return nil, err
	}
	if err := migrate(c, path); err != nil {
		return nil, errors.Join(err, c.close())
	}
	db := &DB{
		path:          path,
		damage:        d,
		maxIdentities: o.MaxIdentities,
		readers:       newReaders(path, d, min(o.Readers, maxReaders)),
		queries:       make(chan struct{}, max(min(o.Readers, maxReaders)-1, 1)),
		scans:         make(chan struct{}, max(min(o.Readers, maxReaders)-2, 1)),
		writer: writer{
			conn:    c,
			queue:   make(chan *change, maxQueue),
			closing: make(chan struct{}),
			stopped: make(chan struct{}),
			observe: o.Observe,
			log:     o.Log,
		},
	}
	go db.writer.run()
	if err := errors.Join(db.finishLeaving(ctx), db.finishHashing(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	return db, nil
}

// create makes an empty file that only its owner may read: it will hold sealed
// keys and messages. SQLite gives the files beside it the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// Registry returns the store of identities and twins.
func (db *DB) Registry() registry.Store { return registryStore{db} }

// Commands returns the store of cloud-to-device queues. Queues belong to
// identities of [DB.Registry]; the feedback they leave is in [DB.Outbox].
func (db *DB) Commands() c2d.Store { return commandStore{db} }

// Jobs returns the store of scheduled jobs.
func (db *DB) Jobs() job.Store { return jobStore{db} }

// Transfers returns the store of imports and exports.
func (db *DB) Transfers() transfer.Store { return transferStore{db} }

// Outbox returns the store of queues to back ends.
func (db *DB) Outbox() outbox.Store { return outboxStore{db} }

// Uploads returns the store of upload tickets. Tickets belong to devices of
// [DB.Registry].
func (db *DB) Uploads() upload.Store { return uploadStore{db} }

// Deployments returns the store of configurations. What they set belongs to
// identities of [DB.Registry].
func (db *DB) Deployments() deploy.Store { return deploymentStore{db} }

// Directory returns the store of hubs.
func (db *DB) Directory() directory.Store { return directoryStore{db} }

// Sessions returns the store of MQTT sessions. Sessions belong to identities of
// [DB.Registry].
func (db *DB) Sessions() *SessionStore { return &SessionStore{db} }

// Close commits the changes that wait, copies the write-ahead log into the
// database and closes it. Later calls of the stores fail. It is idempotent.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		close(db.writer.closing)
		<-db.writer.stopped
		errs := []error{db.readers.close()}
		if err := db.writer.conn.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			// Nothing is lost: the log is read again at the next start.
			errs = append(errs, fmt.Errorf("checkpoint: %w", err))
		}
		errs = append(errs, db.writer.conn.close())
		if err := errors.Join(errs...); err != nil {
			db.closeErr = fmt.Errorf("close database %s: %w", db.path, err)
		}
	})
	return db.closeErr
}
