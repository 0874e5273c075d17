/* Uses the stand-in libcuda as a CUDA program would, and prints what it answers. Compiled and run by
   the tests of the gpu module. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;

static void *find(const char *name)
{
    void *function = dlsym(library, name);
    if (function == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return function;
}

int main(void)
{
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(unsigned) = find("cuInit");
    int (*version)(int *) = find("cuDriverGetVersion");
    int (*count)(int *) = find("cuDeviceGetCount");
    int (*get)(int *, int) = find("cuDeviceGet");
    int (*get_name)(char *, int, int) = find("cuDeviceGetName");
    int (*memory)(size_t *, int) = find("cuDeviceTotalMem_v2");
    int (*get_uuid)(unsigned char *, int) = find("cuDeviceGetUuid");
    int (*create)(void **, unsigned, int) = find("cuCtxCreate_v2");
    int (*allocate)(unsigned long long *, size_t) = find("cuMemAlloc_v2");
    int (*error_name)(int, const char **) = find("cuGetErrorName");
    int (*error_string)(int, const char **) = find("cuGetErrorString");

    int number = -1;
    printf("before cuInit: %d\n", count(&number));
    printf("cuInit: %d\n", init(0));
    version(&number);
    printf("version: %d\n", number);
    count(&number);
    printf("devices: %d\n", number);

    int device = -1;
    char name[64] = "";
    size_t bytes = 0;
    unsigned char uuid[16] = { 0 };
    if (get(&device, 0) || get_name(name, sizeof name, device) || memory(&bytes, device)
        || get_uuid(uuid, device))
        return 1;
    printf("name: %s\nmemory: %zu\nuuid: ", name, bytes);
    for (int i = 0; i < 16; i++)
        printf("%02x", uuid[i]);
    printf("\nsecond device: %d\n", get(&device, 1));

    void *context;
    unsigned long long pointer;
    int refused = create(&context, 0, 0);
    printf("cuCtxCreate_v2: %d\ncuMemAlloc_v2: %d\n", refused, allocate(&pointer, 1024));
    const char *short_text = "", *text = "";
    error_name(refused, &short_text);
    error_string(refused, &text);
    printf("%s: %s\n", short_text, text);
    return 0;
}
