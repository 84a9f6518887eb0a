package transfer

import "time"

// Limits of this package.
const (
	History     = 30 * 24 * time.Hour // that jobs are kept
	MaxListed   = 1000                // jobs in a list, the newest
	MaxURI      = 4096                // bytes of the address of a container
	MaxBlobName = 1024                // characters

	blockSize      = 4 << 20 // of what is written
	maxBlocks      = 50_000  // of a blob, as in Azure Storage
	batchLines     = 500     // of an import, applied at once
	batchBytes     = 8 << 20 // and so many bytes at most
	exportPage     = 500     // devices read at once
	saveInterval   = 5 * time.Second
	attempts       = 6 // to reach a container, with pauses that grow
	retryFirst     = 500 * time.Millisecond
	retryMost      = 30 * time.Second
	expireInterval = time.Hour
	expireBatch    = 100
	watchInterval  = 10 * time.Second // for jobs that other calls left behind
)

// The names that files have unless a caller says otherwise.
const (
	DevicesName        = "devices.txt"
	ConfigurationsName = "configurations.txt"
	ErrorsName         = "importErrors.log"
)
