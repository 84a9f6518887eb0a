package job

import "time"

// Limits of this package.
const (
	DefaultActive    = 10   // jobs of one hub that run or could, as in IoT Hub's largest tier
	MaxUnfinished    = 1000 // jobs of one hub, those for later included
	MaxIDLength      = 128  // of a job
	MaxCondition     = 8192 // characters, as of a query
	MaxStartAhead    = 366 * 24 * time.Hour
	DefaultWindow    = time.Hour // for a job to work in
	MaxWindow        = 30 * 24 * time.Hour
	History          = 30 * 24 * time.Hour // that ended jobs are kept
	MaxPage          = 1000                // jobs of one page
	DefaultPage      = 100
	maxTargets       = 1_000_000 // devices and modules of one job
	selectBatch      = 500       // targets written at once
	devicePage       = 100       // devices worked on at once
	maxCalls         = 256       // methods in flight of one job
	maxWaiting       = 100_000   // devices that are not there, kept in memory; the others are read again
	lookInterval     = 500 * time.Millisecond
	lookShare        = 20 // a look at the absent may take one part in so many of the time
	closeBatch       = 1000
	expireInterval   = time.Hour
	expireBatch      = 100
	retryFirst       = 100 * time.Millisecond // a store or registry that fails is tried again
	retryMost        = 10 * time.Second
	publishTimeout   = 10 * time.Second
	shortestResponse = time.Second // of a call when the window is nearly over
)
