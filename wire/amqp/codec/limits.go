package codec

// Bounds of what is decoded.
const (
	// MaxDepth is how deep values may be nested in each other. Descriptors
	// count as a level.
	MaxDepth = 32
	// MaxElements is how many elements a list, map (two for each pair) or
	// array may have.
	MaxElements = 1 << 20
	// MaxEmptyElements is how many elements without bytes of their own (nulls,
	// constants) an array may have: they cost the sender nothing.
	MaxEmptyElements = 1 << 12
	// MaxDescriptor is the number of bytes that the constructor of an array of
	// described values may have: it is copied for every element.
	MaxDescriptor = 256
)

// Bounds of frames (AMQP 1.0 part 2 §2.3, §2.4.1).
const (
	MinMaxFrameSize = 512 // every peer must accept frames of this size
	FrameHeaderSize = 8   // bytes in front of the extended header
)
