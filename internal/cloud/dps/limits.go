package dps

import "time"

// Bounds of the service.
const (
	MaxID              = 128 // characters of a registration or group id
	MaxScope           = 64
	MaxPayload         = 64 << 10 // bytes of the JSON that a device or a webhook gives
	MaxTwin            = 64 << 10 // bytes of an initial twin
	MaxInformation     = 16 << 10 // bytes of optional device information
	MaxEnrollments     = 1_000_000
	MaxGroups          = 100 // of one service: each is tried for a device that has no enrollment of its own
	MaxBulk            = 10  // enrollments of one bulk operation
	MaxHubs            = 50  // linked to one service
	MaxWeight          = 1000
	MaxRegion          = 64
	MaxServices        = 100
	MaxHosts           = 64 // names of one service
	MaxPolicies        = 64 // of one service
	MaxPolicyName      = 64
	MaxURL             = 2048
	MaxPage            = 1000
	DefaultPage        = 100
	MaxAuthorities     = 100 // certificates of one service
	MaxAuthorityName   = 128
	keyBytes           = 64 // of generated keys
	leastKey, mostKey  = 16, 64
	RetryAfter         = 2 * time.Second  // between two questions of a device
	busyPause          = 10 * time.Second // of devices that come while too many others wait
	MaxNetworks        = 1000             // of the regions of one service
	MaxLatencies       = 1000
	MaxMillis          = 100_000
	MaxDecisions       = 200_000 // on record, of one service
	DecisionAge        = 90 * 24 * time.Hour
	MaxDecisionText    = 400  // bytes of a message on record
	refusalsOnRecord   = 120  // a minute
	maxRefusals        = 256  // that wait to be put on record
	maxComplaints      = 1000 // about what is stored and makes no sense
	pruneEvery         = time.Minute
	unhealthyAfter     = 3                // failures in a row of a linked hub
	firstHubPause      = 10 * time.Second // until an unhealthy hub is tried again, then twice as long each time
	lastHubPause       = 5 * time.Minute
	MaxLimit           = 1_000_000_000
	maxThrottled       = 200_000 // devices and services whose calls are counted
	OperationsAtOnce   = 256     // assignments under way at the same time, and as many that ask webhooks
	MaxPending         = 50_000  // assignments that wait for one of those
	maxAsking          = 25_000  // of them for webhooks
	AssignTimeout      = 60 * time.Second
	NonceTTL           = 10 * time.Minute // a TPM may take so long to answer its challenge
	noncesEach         = 3                // outstanding challenges of one registration
	maxNonces          = 10_000           // of all
	verificationLength = 24               // bytes of randomness in a verification code

	MaxRevocations        = 100_000   // of one service; they are kept in memory
	MaxRevocationList     = 4 << 20   // bytes of a revocation list that is uploaded
	MaxReason             = 256       // bytes of the reason of a revocation
	MaxCredentialPolicies = 50        // of one service
	MaxIssued             = 20        // certificates on record for one device; the oldest make room
	MinLifetime           = time.Hour // of issued certificates
	MaxLifetime           = 2 * 366 * day
	issuerLife            = 5 * 366 * day // of an authority that issues them
	HubTimeout            = 10 * time.Second
	sweepEvery            = time.Hour // issued certificates that have ended are taken from hubs
)
