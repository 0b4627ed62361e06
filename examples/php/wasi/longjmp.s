# The tag of the exception that a longjmp is; the libc of the toolchain lacks it.
	.globl	__c_longjmp
	.tagtype	__c_longjmp i32
__c_longjmp:
