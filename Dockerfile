# An image with everything in it that lorry's release lock asks for, so that a rented machine installs nothing but lorry
# itself, which is sent along. Build it, put it where your provider can pull it from, and name it in a recipe:
#
#   docker build --tag registry.example.org/you/lorry:0.1.0 .
#   docker push registry.example.org/you/lorry:0.1.0
#
#   compute:
#     image: registry.example.org/you/lorry:0.1.0
#
# The base brings torch, built for the GPU's CUDA, and sshd with a start script that takes the key from $PUBLIC_KEY. Any
# other with Python 3.11 to 3.13, torch 2.8 or later and such a start script will do:
#
#   docker build --build-arg BASE=... --tag ... .
ARG BASE=runpod/pytorch:1.0.3-cu1281-torch291-ubuntu2404
FROM ${BASE}

# The Python that has torch, where it isn't the first in PATH.
ARG PYTHON=python3

COPY src/lorry/compute/machine/lock/packages.txt src/lorry/compute/machine/lock/uv.txt /tmp/lorry/

# No dependencies are resolved: the list is complete, and the base's torch stays as it is. It fails where there is none.
RUN "${PYTHON}" -c 'import importlib.metadata as about; print("torch", about.version("torch"))' \
    && { command -v uv >/dev/null \
         || "${PYTHON}" -m pip install --no-cache-dir --break-system-packages --requirement /tmp/lorry/uv.txt; } \
    && uv pip install --python "$(command -v "${PYTHON}")" --break-system-packages --no-cache --no-deps \
         --requirement /tmp/lorry/packages.txt \
    && rm -r /tmp/lorry

# Nothing is started here: the base's own entry point and command stay, and lorry's switch is put before them.
