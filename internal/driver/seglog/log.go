package seglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

var (
	_ eventlog.Log     = (*Log)(nil)
	_ eventlog.Cursors = (*Log)(nil)
)

// Log is an open log. It is safe for concurrent use.
//
// Three parties share it: appenders gather a group under mu; the writing
// goroutine takes groups to disk and publishes them under view; readers look up
// their place under view and then read files without any lock. Locks are taken
// in the order mu, view, and never held while a file is touched.
type Log struct {
	fs         fsys
	lock       io.Closer
	opt        Options
	log        *slog.Logger
	metrics    *obs.Log
	partitions int
	salt       [saltBytes]byte
	seed       uint32 // of the checksums of frames
	files      files
	cursors    *cursors

	// Gathering, see append.go.
	mu      sync.Mutex
	closing bool
	group   *group        // being gathered
	room    chan struct{} // closed when the group being gathered is taken; nil when nobody waits
	tail    []tail        // per partition
	awake   bool          // the writer knows that there is something to do
	wake    chan struct{} // one token

	// Writing, see commit.go. Only the writing goroutine uses w.
	w        writer
	rollWant atomic.Bool // retention wants a new segment

	// What readers see.
	view   sync.RWMutex
	closed bool
	segs   []*segment // ascending, never empty; the last is being written
	parts  []published

	hints []hints // per partition
	noted struct {
		sync.Mutex
		m map[hole]struct{}
	}

	// Retention, see retain.go.
	keepTime  atomic.Int64 // ns, 0 is for ever
	keepBytes atomic.Int64 // 0 is no bound
	check     chan struct{}
	doomed    []*segment // dropped, their files not yet removed; only the maintaining goroutine

	stop    context.CancelFunc
	stopped context.Context
	running sync.WaitGroup
	shut    sync.Once
	shutErr error
}

// tail is where a partition goes on, for appenders.
type tail struct {
	next eventlog.Offset
	last int64 // time of the last record
}

// published is what readers see of a partition.
type published struct {
	oldest, next eventlog.Offset
	last         int64 // time of the last record
	trim         eventlog.Offset
	wait         chan struct{} // closed when next moves; nil when nobody waits
	recent       recent
}

// Open opens the log in dir, or makes one. It recovers what a crash left
// behind. It fails, and says why, when another process has the log open, when
// a file was written by a newer release, and when the number of partitions is
// not the one the log was made with.
func Open(dir string, o Options) (*Log, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("seglog: open %s: %w", dir, err)
	}
	l, err := open(d, o)
	if err != nil {
		return nil, fmt.Errorf("seglog: open %s: %w", dir, err)
	}
	return l, nil
}

func open(dir fsys, o Options) (_ *Log, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := dir.Lock()
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &Log{
		fs: dir, lock: lock, opt: o, log: o.Log, metrics: o.Metrics,
		files: files{fs: dir},
		wake:  make(chan struct{}, 1),
		check: make(chan struct{}, 1),
	}
	l.noted.m = make(map[hole]struct{})
	defer func() {
		if err != nil {
			if l.w.seg != nil {
				l.files.release(l.w.seg)
			}
			l.closeFiles()
			if l.cursors != nil {
				_ = l.cursors.close() // the log did not open: that is the error
			}
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := l.load(); err != nil {
		if isFull(err) {
			return nil, fmt.Errorf("%w: %w", eventlog.ErrFull, err)
		}
		return nil, err
	}
	l.keepTime.Store(int64(o.RetentionTime))
	l.keepBytes.Store(o.RetentionBytes)
	l.group = newGroup(l.partitions)
	l.account()
	l.stopped, l.stop = context.WithCancel(context.Background())
	l.running.Go(l.write)
	l.running.Go(l.maintain)
	return l, nil
}

// load reads what is on disk.
func (l *Log) load() error {
	names, err := l.fs.List()
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if err := removeTemporary(l.fs, names); err != nil {
		return err
	}
	m, err := loadMeta(l.fs, names, l.opt)
	if err != nil {
		return err
	}
	l.partitions, l.salt, l.seed = m.partitions, m.salt, frameSeed(m.salt)
	l.parts = make([]published, m.partitions)
	l.tail = make([]tail, m.partitions)
	l.hints = make([]hints, m.partitions)
	for p := range l.parts {
		l.parts[p].last = math.MinInt64
	}
	if l.cursors, err = loadCursors(l.fs, m.partitions, l.log); err != nil {
		return err
	}
	if err := l.recoverSegments(names); err != nil {
		return err
	}
	// What was found may have been created by a process that did not live to
	// make it durable, and is built upon from now on.
	if err := l.fs.SyncDir(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if len(l.segs) == 0 {
		if err := l.begin(); err != nil {
			return err
		}
	}
	for p := range l.parts {
		lp := &l.parts[p]
		l.tail[p] = tail{lp.next, lp.last}
		if trim, ok := l.cursors.get(trimGroup, p); ok {
			lp.trim = min(trim, lp.next)
			lp.oldest = max(lp.oldest, lp.trim)
		}
	}
	return nil
}

// Partitions returns the number of partitions.
func (l *Log) Partitions() int { return l.partitions }

// Bounds returns the oldest offset held and the next one.
func (l *Log) Bounds(ctx context.Context, p eventlog.Partition) (oldest, next eventlog.Offset, err error) {
	if err := l.checkPartition(p); err != nil {
		return 0, 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	l.view.RLock()
	defer l.view.RUnlock()
	if l.closed {
		return 0, 0, eventlog.ErrClosed
	}
	return l.parts[p].oldest, l.parts[p].next, nil
}

func (l *Log) checkPartition(p eventlog.Partition) error {
	if p < 0 || int(p) >= l.partitions {
		return fmt.Errorf("seglog: there is no partition %d, the log has %d", p, l.partitions)
	}
	return nil
}

// Close stores what is being appended, makes waiting readers return
// eventlog.ErrClosed, finishes the segment being written, and gives up the
// lock. It is idempotent.
func (l *Log) Close() error {
	l.shut.Do(func() {
		l.mu.Lock()
		l.closing = true
		if l.room != nil {
			close(l.room)
			l.room = nil
		}
		l.mu.Unlock()
		l.stop()
		l.running.Wait() // the writer has stored the last group, and nothing follows

		l.view.Lock()
		l.closed = true
		for p := range l.parts {
			l.parts[p].wake()
		}
		l.view.Unlock()

		l.shutErr = l.cursors.close()
		if !l.w.sealed && !l.w.trailing {
			if err := l.finish(l.w.seg, l.w.f); err != nil && !isFull(err) {
				// Full: the next start scans the segment instead.
				l.shutErr = errors.Join(l.shutErr, err)
			}
		}
		l.files.release(l.w.seg)
		l.closeFiles()
		l.shutErr = errors.Join(l.shutErr, l.lock.Close())
		if l.shutErr != nil {
			l.shutErr = fmt.Errorf("seglog: close: %w", l.shutErr)
		}
	})
	return l.shutErr
}

// closeFiles closes the files of all segments that nobody reads; readers close
// the others when they are done.
func (l *Log) closeFiles() {
	l.view.RLock()
	segs := l.segs
	l.view.RUnlock()
	for _, s := range segs {
		l.files.forget(s)
	}
}

// wake tells those who wait for records. The caller holds Log.view.
func (p *published) wake() {
	if p.wait != nil {
		close(p.wait)
		p.wait = nil
	}
}

// account brings the gauges up to date.
func (l *Log) account() {
	l.view.RLock()
	var bytes int64
	for _, s := range l.segs {
		bytes += s.disk
	}
	n := len(l.segs)
	l.view.RUnlock()
	l.metrics.Segments.Set(float64(n))
	l.metrics.DiskBytes.Set(float64(bytes))
}

// now is the time of a record that brings none, and of retention.
func now() int64 { return micros(time.Now()) }
