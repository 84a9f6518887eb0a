package deploy

import "time"

// Bounds of this package.
const (
	DefaultMaxConfigurations = 100 // of devices and modules, of one hub
	DefaultMaxDeployments    = 100 // of edge devices, of one hub

	MaxID            = 128       // characters of a configuration's id
	MaxCondition     = 8192      // characters of a target condition or a metric's query
	MaxContent       = 256 << 10 // bytes of JSON
	MaxSettings      = 1000      // paths in one content
	MaxMetrics       = 5         // custom ones of a configuration
	MaxMetricName    = 128       // characters
	MaxLabels        = 100
	MaxLabel         = 1024 // characters of a label's name, or of its value
	MaxSchemaVersion = 32   // characters

	// DefaultWorkers write twins side by side, so that they share the commits
	// of the store: a commit takes as long for one change as for a hundred, and
	// what is noted, then set, then written down of so many devices comes in as
	// many commits as of one. More of them hold more twins in memory.
	DefaultWorkers = 256
	// DefaultRate is how many twins are written in a second, so that a rollout
	// leaves the store to devices and services too.
	DefaultRate = 2000
	// DefaultQueue is how many devices wait to be looked at. When more do, all
	// devices are looked at once the queue is empty.
	DefaultQueue = 100_000

	rolloutAhead  = 2048             // devices that a pass puts into the queue ahead of the workers
	maxAttempts   = 8                // of a plan whose twin changes meanwhile
	retryAfter    = time.Second      // first pause after a store that fails
	maxRetry      = 5 * time.Minute  // last one
	flapWindow    = time.Minute      // a device whose plan changes
	flapAllowed   = 10               // more often than this in it is made to wait
	maxFlapping   = 10_000           // devices whose changes are counted
	volatileEvery = 5 * time.Minute  // conditions on connections are evaluated anew
	metricsAge    = 5 * time.Minute  // results of metrics are counted anew
	metricsWanted = time.Hour        // after the last reading
	metricsFresh  = 5 * time.Second  // results that a single reading is content with
	metricsWait   = 5 * time.Second  // for the results of one reading
	stopWait      = 10 * time.Second // for the waiting devices to be written down
	tracesPage    = 500              // traces read at once
)
